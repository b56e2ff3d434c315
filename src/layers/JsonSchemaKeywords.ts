/** Keywords of JSON Schema whose usual code takes more than linear time or is wrong, written anew. */
import { _, type Ajv, type KeywordCxt } from "ajv"
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
    compile: (factor: number) => (value: number) => multiple(value, factor)
  })
  // The usual code takes an empty list for what was met before: the list before it, or the places of `items`.
  ajv.removeKeyword("contains")
  ajv.addKeyword({
    keyword: "contains",
    schemaType: ["object", "boolean"],
    trackErrors: true,
    error: { message: ({ it, parentSchema }) => containsMessage(boundsOf(it, parentSchema)) },
    code: contains
  })
  ajv.removeKeyword("enum")
  ajv.addKeyword({
    keyword: "enum",
    schemaType: "array",
    error: {
      message: (context) => `must be one of ${shown(context.schema)}`
    },
    compile: oneOf
  })
}

const boundsOf = (
  it: { readonly opts: { readonly next?: boolean } },
  node: Readonly<Record<string, number | undefined>> = {}
): readonly [number, number] =>
  it.opts.next === true ? [node.minContains ?? 1, node.maxContains ?? Infinity] : [1, Infinity]

export const containsMessage = ([least, most]: readonly [number, number]): string =>
  `must contain at least ${least}${most === Infinity ? "" : ` and no more than ${most}`} valid item(s)`

const contains = (context: KeywordCxt): void => {
  const { data, gen } = context
  const [least, most] = boundsOf(context.it, context.parentSchema)
  const valid = gen.let("valid", true)
  gen.if(_`Array.isArray(${data})`, () => {
    const count = gen.let("count", 0)
    gen.forRange("i", 0, _`${data}.length`, (index) => {
      const met = gen.name("_valid")
      context.subschema({ keyword: "contains", dataProp: index, dataPropType: 0, compositeRule: true }, met)
      gen.if(met, () => gen.code(_`${count}++`))
      // Whatever follows says nothing more.
      gen.if(most === Infinity ? _`${count} >= ${least}` : _`${count} > ${most}`, () => gen.break())
    })
    gen.assign(valid, most === Infinity ? _`${count} >= ${least}` : _`${count} >= ${least} && ${count} <= ${most}`)
  })
  context.result(valid, () => context.reset())
}

export const oneOf = (values: ReadonlyArray<unknown>): ((value: unknown) => boolean) => {
  const known = new Set(values.map(identity))
  const compound = values.some(isCompound)
  return (value) => (compound || !isCompound(value)) && known.has(identity(value))
}

/** By the decimals as they are written: 19.99 is a multiple of 0.01, though no binary fraction is one of another. */
export const multiple = (value: number, factor: number): boolean => {
  if (Number.isSafeInteger(value) && Number.isSafeInteger(factor)) return value % factor === 0
  if (!Number.isFinite(value)) return false
  const [digits, exponent] = decimal(value)
  const [factorDigits, factorExponent] = decimal(factor)
  const shift = exponent - factorExponent
  return shift >= 0
    ? (digits * 10n ** BigInt(shift)) % factorDigits === 0n
    : digits % (factorDigits * 10n ** BigInt(-shift)) === 0n
}

/** A number is the first times ten to the power of the second, which is at most 324. */
const decimal = (value: number): readonly [digits: bigint, exponent: number] => {
  const [mantissa = "", power] = value.toExponential().split("e")
  const [whole = "", fraction = ""] = mantissa.split(".")
  return [BigInt(whole + fraction), Number(power) - fraction.length]
}

export const unique = (items: ReadonlyArray<unknown>): boolean => {
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
  // As JSON a number too large would be null.
  if (typeof value === "number") return String(value)
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? String(value)
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  const node = value as Record<string, unknown>
  return `{${Object.keys(node)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(node[key])}`)
    .join()}}`
}

export const shown = (values: unknown): string => {
  const text = JSON.stringify(values) ?? ""
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}
