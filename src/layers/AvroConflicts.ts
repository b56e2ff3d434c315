/** Tells whether every value that one Avro schema allows here is allowed by another, and if not, where. */
import type { Type, types } from "avsc"
import { nameOf } from "./AvroCheck.ts"
import type { Parsed } from "./AvroTypes.ts"

export interface Conflict {
  readonly path: string
  readonly message: string
}

export interface Options {
  /** Whether fields that `to` lacks are skipped, as readers do; otherwise they are conflicts, as the check has it. */
  readonly skipsFields: boolean
}

/**
 * By what the check takes, which Avro's resolution does not look at: logical types, unions written out, defaults that
 * are gone, fields that are not known. Sound: none means that every value `from` allows `to` allows too.
 */
export const conflicts = (from: Parsed, to: Parsed, options: Options): ReadonlyArray<Conflict> =>
  compare({ from, to, options, ids: new Map(), assumed: new Set(), trail: [], failed: new Map() }, [
    from.type,
    to.type,
    "payload"
  ])

interface Context {
  readonly from: Parsed
  readonly to: Parsed
  readonly options: Options
  readonly ids: Map<Type, number>
  /** Pairs of types without conflicts as far as is known: those under way, and those whose proof may rest on them. */
  readonly assumed: Set<string>
  /** The same in the order they were added. */
  readonly trail: Array<string>
  readonly failed: Map<string, string>
}

type Pair = readonly [was: Type, is: Type, path: string]

const compare = (context: Context, pair: Pair): ReadonlyArray<Conflict> => {
  const [was, is, path] = pair
  const { assumed, failed, trail } = context
  const key = `${idOf(context, was)}:${idOf(context, is)}`
  if (assumed.has(key)) return []
  const before = failed.get(key)
  if (before !== undefined) return [{ path, message: before }]
  const start = trail.push(key) - 1
  assumed.add(key)
  const found = parts(context, pair)
  if (found.length === 0) return found
  // What was proven since may rest on what has turned out wrong.
  for (const later of trail.splice(start)) assumed.delete(later)
  failed.set(key, found[0]!.message)
  return found
}

const idOf = ({ ids }: Context, type: Type): number => {
  const id = ids.get(type) ?? ids.size
  ids.set(type, id)
  return id
}

const parts = (context: Context, [was, is, path]: Pair): ReadonlyArray<Conflict> => {
  if (isUnion(was)) return union(context, was.types, is, path)
  if (isUnion(is)) {
    const found = is.types.map((branch) => compare(context, [was, branch, path]))
    if (found.some((one) => one.length === 0)) return []
    const own = is.types.findIndex((branch) => nameOf(branch) === nameOf(was))
    return found[own] ?? [{ path, message: `${nameOf(was)} is none of ${namesOf(is.types)}` }]
  }
  if (isRecord(was) && isRecord(is)) return fields(context, was, is, path)
  if (isArray(was) && isArray(is)) return compare(context, [was.itemsType, is.itemsType, `${path} (items)`])
  if (isMap(was) && isMap(is)) return compare(context, [was.valuesType, is.valuesType, `${path} (values)`])
  const message = scalar(was, is) ?? logical(context, was, is)
  return message === undefined ? [] : [{ path, message }]
}

const isUnion = (type: Type): type is types.WrappedUnionType =>
  type.typeName === "union:wrapped" || type.typeName === "union:unwrapped"

const isRecord = (type: Type): type is types.RecordType => type.typeName === "record" || type.typeName === "error"

const isArray = (type: Type): type is types.ArrayType => type.typeName === "array"

const isMap = (type: Type): type is types.MapType => type.typeName === "map"

const namesOf = (branches: ReadonlyArray<Type>): string => branches.map(nameOf).join(", ").slice(0, 200)

/** Its values may be written out, `{"branch": value}`: so each branch must have one of its name. */
const union = (context: Context, branches: ReadonlyArray<Type>, is: Type, path: string): ReadonlyArray<Conflict> => {
  if (!isUnion(is)) return [{ path, message: `was a union of ${namesOf(branches)} and is ${nameOf(is)}` }]
  return branches.flatMap((branch) => {
    const own = is.types.find((one) => nameOf(one) === nameOf(branch))
    if (own !== undefined) return compare(context, [branch, own, path])
    return [{ path, message: `${nameOf(branch)} is none of ${namesOf(is.types)}` }]
  })
}

const fields = (
  context: Context,
  was: types.RecordType,
  is: types.RecordType,
  path: string
): ReadonlyArray<Conflict> => {
  const after = new Map(is.fields.map((field) => [field.name, field]))
  const found: Array<Conflict> = []
  for (const field of was.fields) {
    const own = after.get(field.name)
    after.delete(field.name)
    if (own === undefined) {
      if (!context.options.skipsFields) found.push({ path, message: `the field ${field.name} is no field any more` })
      continue
    }
    if (field.defaultValue() !== undefined && own.defaultValue() === undefined) {
      found.push({ path, message: `the field ${field.name} could be left out, and has no default any more` })
    }
    found.push(...compare(context, [field.type, own.type, `${path}.${field.name}`]))
  }
  for (const field of after.values()) {
    if (field.defaultValue() === undefined) found.push({ path, message: `the field ${field.name} has no default` })
  }
  return found
}

/** Types whose every value, as the check takes it, the others take too. A long may be text, which no float is. */
const wider: Readonly<Record<string, ReadonlyArray<string>>> = { int: ["long", "float", "double"], float: ["double"] }

const scalar = (was: Type, is: Type): string | undefined => {
  if (was.typeName !== is.typeName) {
    const goes = wider[was.typeName]?.includes(is.typeName) === true
    return goes ? undefined : `was ${was.typeName} and is ${is.typeName}`
  }
  if (was.typeName === "enum") {
    const symbols = new Set((is as types.EnumType).symbols)
    const gone = (was as types.EnumType).symbols.filter((symbol) => !symbols.has(symbol))
    return gone.length === 0 ? undefined : `the symbols ${gone.join(", ").slice(0, 200)} are gone`
  }
  if (was.typeName !== "fixed") return undefined
  const [before, after] = [(was as types.FixedType).size, (is as types.FixedType).size]
  return before === after ? undefined : `had ${before} bytes and has ${after}`
}

/** Those that the check does not look at may be left out or added, but not made another: values would mean another thing. */
const logical = ({ from, to }: Context, was: Type, is: Type): string | undefined => {
  const [before, after] = [from.logical.get(was), to.logical.get(is)]
  if (after === undefined) return undefined
  if (before === undefined) return checked.has(`${is.typeName}:${after.name}`) ? `is ${after.name} now` : undefined
  if (before.name !== after.name) return `was ${before.name} and is ${after.name}`
  // Source: https://avro.apache.org/docs/1.12.0/specification/#decimal
  if (after.name !== "decimal" || (Object.is(before.precision, after.precision) && before.scale === after.scale)) {
    return undefined
  }
  const shown = [before, after].map(({ precision, scale }) => `a decimal of precision ${precision} and scale ${scale}`)
  return `was ${shown[0]} and is ${shown[1]}`
}

const checked = new Set(["string:uuid", "int:time-millis", "long:time-micros", "bytes:decimal", "fixed:decimal"])
