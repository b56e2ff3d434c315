/** Keywords of JSON Schema whose usual code takes more than linear time, written anew. */
import type { Ajv } from "ajv"
import type { Expression } from "./LinearRegExp.ts"

/** The compiler knows expressions apart by their text alone: without one, all would be the first. */
export const regExp = (expressions: (pattern: string) => Expression) =>
  Object.assign(
    (pattern: string, _flags: string) => {
      const { test } = expressions(pattern)
      return { test, toString: () => pattern }
    },
    { code: "linear" }
  )

export const replace = (ajv: Ajv): void => {
  // "id" is an unknown word since draft-06, not an error.
  ajv.removeKeyword("id")
  ajv.removeKeyword("uniqueItems")
  ajv.addKeyword({
    keyword: "uniqueItems",
    type: "array",
    schemaType: "boolean",
    error: { message: "must NOT have duplicate items" },
    compile: (asked: boolean) => (items: ReadonlyArray<unknown>) => !asked || unique(items)
  })
  // The usual code reads numbers from 10^21 on as another number.
  ajv.removeKeyword("multipleOf")
  ajv.addKeyword({
    keyword: "multipleOf",
    type: "number",
    schemaType: "number",
    error: { message: (context) => `must be multiple of ${shown(context.schema)}` },
    compile: (factor: number) => (value: number) => Number.isInteger(value / factor)
  })
  ajv.removeKeyword("enum")
  ajv.addKeyword({
    keyword: "enum",
    schemaType: "array",
    error: {
      message: (context) => `must be one of ${shown(context.schema)}`
    },
    compile: (values: ReadonlyArray<unknown>) => {
      const known = new Set(values.map(identity))
      const compound = values.some(isCompound)
      return (value: unknown) => (compound || !isCompound(value)) && known.has(identity(value))
    }
  })
}

const unique = (items: ReadonlyArray<unknown>): boolean => {
  const seen = new Set<unknown>()
  for (const item of items) {
    const id = identity(item)
    if (seen.has(id)) return false
    seen.add(id)
  }
  return true
}

const isCompound = (value: unknown): boolean => typeof value === "object" && value !== null

/** Equal for what JSON Schema holds equal, and only for that; no text is equal to what stands for an object. */
const identity = (value: unknown): unknown =>
  isCompound(value) ? `o${canonical(value)}` : typeof value === "string" ? `s${value}` : value

/** The same text for what JSON Schema holds equal, and only for that. */
export const canonical = (value: unknown): string => {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? String(value)
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  const node = value as Record<string, unknown>
  return `{${Object.keys(node)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(node[key])}`)
    .join()}}`
}

const shown = (values: unknown): string => {
  const text = JSON.stringify(values) ?? ""
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}
