/** Tells where what one Avro schema writes cannot be read by another, or means another thing there. */
import type { Type, types } from "avsc"
import { nameOf } from "./AvroCheck.ts"
import type { Logical, Parsed } from "./AvroTypes.ts"

export interface Conflict {
  readonly path: string
  readonly message: string
}

/**
 * By Avro's rules of resolution, and by the logical types of what they match, which the vendor's resolver does not look
 * at. The first place of each pair of types is named.
 *
 * Source: https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
 */
export const conflicts = (writer: Parsed, reader: Parsed): ReadonlyArray<Conflict> => {
  const context: Context = { ids: new Map(), assumed: new Set(), trail: [], failed: new Set() }
  const found: Array<Conflict> = []
  const pairs: Array<Pair> = [[writer.type, reader.type, "payload"]]
  const seen = new Set<string>()
  // The list grows as it is walked.
  for (const pair of pairs) {
    const key = keyOf(context, pair)
    if (seen.has(key)) continue
    seen.add(key)
    const [was, is, path] = pair
    const step = stepOf(pair)
    if (step?.any !== undefined) {
      const chosen = branches(context, step.any)
      if (chosen.length === 0) found.push({ path, message: `${nameOf(was)} is none of ${namesOf(is)}` })
      pairs.push(...chosen)
    } else if (step === undefined) found.push({ path, message: `was ${nameOf(was)} and is ${nameOf(is)}` })
    else pairs.push(...step.all)
    const message = logical(effective(writer, was), effective(reader, is), is)
    if (message !== undefined) found.push({ path, message })
  }
  return found
}

interface Context {
  readonly ids: Map<Type, number>
  /** Pairs that resolve as far as is known: those under way, and those whose proof may rest on them. */
  readonly assumed: Set<string>
  /** The same in the order they were added. */
  readonly trail: Array<string>
  readonly failed: Set<string>
}

type Pair = readonly [was: Type, is: Type, path: string]

/** What a pair resolves by: each of some pairs, or one of them. */
type Step = { readonly all: ReadonlyArray<Pair>; readonly any?: undefined } | { readonly any: ReadonlyArray<Pair> }

const stepOf = ([was, is, path]: Pair): Step | undefined => {
  if (isUnion(was)) return { all: was.types.map((branch) => [branch, is, path]) }
  if (isUnion(is)) return { any: is.types.map((branch) => [was, branch, path]) }
  if (isRecord(was) && isRecord(is)) return fields(was, is, path)
  if (isArray(was) && isArray(is)) return { all: [[was.itemsType, is.itemsType, `${path} (items)`]] }
  if (isMap(was) && isMap(is)) return { all: [[was.valuesType, is.valuesType, `${path} (values)`]] }
  return scalar(was, is) ? { all: [] } : undefined
}

const isUnion = (type: Type): type is types.WrappedUnionType =>
  type.typeName === "union:wrapped" || type.typeName === "union:unwrapped"

const isRecord = (type: Type): type is types.RecordType => type.typeName === "record" || type.typeName === "error"

const isArray = (type: Type): type is types.ArrayType => type.typeName === "array"

const isMap = (type: Type): type is types.MapType => type.typeName === "map"

const namesOf = (union: Type): string => (union as types.WrappedUnionType).types.map(nameOf).join(", ").slice(0, 200)

const fields = (was: types.RecordType, is: types.RecordType, path: string): Step | undefined => {
  if (!named(was, is)) return undefined
  const before = new Map(was.fields.map((field) => [field.name, field]))
  const all: Array<Pair> = []
  for (const field of is.fields) {
    const names = new Set([field.name, ...field.aliases])
    const written = [...names].flatMap((name) => before.get(name) ?? [])
    if (written.length > 1 || (written.length === 0 && field.defaultValue() === undefined)) return undefined
    for (const { type } of written) all.push([type, field.type, `${path}.${field.name}`])
  }
  return { all }
}

const named = (was: Type, is: Type): boolean => was.name === is.name || is.aliases?.includes(was.name!) === true

/** Types that are read as others. */
const promoted: Readonly<Record<string, ReadonlyArray<string>>> = {
  int: ["long", "float", "double"],
  long: ["float", "double"],
  float: ["double"],
  string: ["bytes"],
  bytes: ["string"]
}

const scalar = (was: Type, is: Type): boolean => {
  if (was.typeName !== is.typeName) return promoted[was.typeName]?.includes(is.typeName) === true
  if (was.typeName === "fixed") {
    return named(was, is) && (was as types.FixedType).size === (is as types.FixedType).size
  }
  if (was.typeName !== "enum") return true
  const { default: other, symbols } = is as types.EnumType & { readonly default?: string }
  return (
    named(was, is) && (other !== undefined || (was as types.EnumType).symbols.every((one) => symbols.includes(one)))
  )
}

/**
 * The first branch that can read it, as Avro has it, and the one of its own type and name, which some readers prefer: by
 * either it must mean the same.
 */
const branches = (context: Context, pairs: ReadonlyArray<Pair>): ReadonlyArray<Pair> => {
  const able = pairs.filter((pair) => resolves(context, pair))
  const own = able.find(([was, is]) => was.typeName === is.typeName && nameOf(was) === nameOf(is))
  return [...new Set([...able.slice(0, 1), ...(own === undefined ? [] : [own])])]
}

const resolves = (context: Context, pair: Pair): boolean => {
  const { assumed, failed, trail } = context
  const key = keyOf(context, pair)
  if (assumed.has(key)) return true
  if (failed.has(key)) return false
  const start = trail.push(key) - 1
  assumed.add(key)
  const step = stepOf(pair)
  const one = (inner: Pair): boolean => resolves(context, inner)
  if (step?.any === undefined ? step?.all.every(one) : step.any.some(one)) return true
  // What was proven since may rest on what has turned out wrong.
  for (const later of trail.splice(start)) assumed.delete(later)
  failed.add(key)
  return false
}

const keyOf = ({ ids }: Context, [was, is]: Pair): string =>
  [was, is]
    .map((type) => {
      const id = ids.get(type) ?? ids.size
      ids.set(type, id)
      return id
    })
    .join(":")

/** One that is not known, or does not suit its type, says nothing, as Avro asks. */
const effective = ({ logical }: Parsed, type: Type): Logical | undefined => {
  const own = logical.get(type)
  if (own === undefined || !known[own.name]?.includes(type.typeName)) return undefined
  return own.name === "decimal" && !Number.isInteger(own.precision) ? undefined : own
}

const known: Readonly<Record<string, ReadonlyArray<string>>> = {
  decimal: ["bytes", "fixed"],
  "big-decimal": ["bytes"],
  uuid: ["string", "fixed"],
  date: ["int"],
  "time-millis": ["int"],
  "time-micros": ["long"],
  "timestamp-millis": ["long"],
  "timestamp-micros": ["long"],
  "timestamp-nanos": ["long"],
  "local-timestamp-millis": ["long"],
  "local-timestamp-micros": ["long"],
  "local-timestamp-nanos": ["long"],
  duration: ["fixed"]
}

/** May be left out or added, if it allows every value of its type, but not made another: values would mean another thing. */
const logical = (before: Logical | undefined, after: Logical | undefined, is: Type): string | undefined => {
  if (after === undefined) return undefined
  if (before === undefined) return checked.has(`${is.typeName}:${after.name}`) ? `is ${after.name} now` : undefined
  if (before.name !== after.name) return `was ${before.name} and is ${after.name}`
  // Source: https://avro.apache.org/docs/1.12.0/specification/#decimal
  if (after.name !== "decimal" || (before.precision === after.precision && before.scale === after.scale)) {
    return undefined
  }
  const shown = [before, after].map(({ precision, scale }) => `a decimal of precision ${precision} and scale ${scale}`)
  return `was ${shown[0]} and is ${shown[1]}`
}

const checked = new Set(["string:uuid", "int:time-millis", "long:time-micros", "bytes:decimal", "fixed:decimal"])
