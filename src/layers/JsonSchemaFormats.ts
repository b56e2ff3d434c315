/** The formats that can be asserted. */
import { Ajv } from "ajv"
import formats from "ajv-formats"

export const add = (ajv: Ajv): void => {
  formats.default(ajv as never)
}

type Format = Ajv["formats"][string]

/** A format says something of one type only: of texts where it names none. */
const formatOf = (format: Format): ((value: unknown) => boolean) => {
  if (format === undefined || typeof format === "boolean" || typeof format === "string") return () => true
  if (format instanceof RegExp) return (value) => typeof value !== "string" || format.test(value)
  if (typeof format === "function") return (value) => typeof value !== "string" || format(value) === true
  const { type = "string", validate } = format as { readonly type?: string; readonly validate: Format }
  const holds =
    validate instanceof RegExp
      ? (value: unknown) => validate.test(value as string)
      : (validate as (value: unknown) => unknown)
  return (value) => typeof value !== type || typeof holds !== "function" || holds(value) === true
}

/** By name; each says yes to what it says nothing of. */
export const known: ReadonlyMap<string, (value: unknown) => boolean> = new Map(
  Object.entries((formats.default(new Ajv({ logger: false }) as never) as Ajv).formats).map(([name, format]) => [
    name,
    formatOf(format)
  ])
)
