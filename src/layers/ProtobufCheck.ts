/** Checks a value by a message, as protobuf's JSON mapping writes it. */
import protobuf from "protobufjs"
import type { Violation } from "../services/SchemaLanguage.ts"
import { fieldsOf, jsonName, type Parsed, wrappers } from "./ProtobufTypes.ts"
import { collect, type Findings, isObject, kind, type Limits } from "./SchemaFindings.ts"

/** Source: https://protobuf.dev/programming-guides/json/ */
export const check = ({ message, root }: Parsed, limits: Limits, value: unknown): ReadonlyArray<Violation> =>
  collect(limits, (findings) => messageOf({ findings, root }, message, value, "payload", 1))

interface Context {
  readonly findings: Findings
  readonly root: protobuf.Root
}

const messageOf = (context: Context, type: protobuf.Type, value: unknown, path: string, level: number): void => {
  const { findings } = context
  findings.step(path, level)
  const wellKnown = wellKnownOf(type, value)
  if (wellKnown !== undefined) return wellKnown === "" ? undefined : findings.add(path, wellKnown)
  if (!isObject(value)) return findings.add(path, `must be an object, not ${kind(value)}`)
  if (type.fullName === ".google.protobuf.Any") return any(context, value, path, level)
  fieldsIn(context, type, value, path, level, Object.keys(value))
}

const fieldsIn = (
  context: Context,
  type: protobuf.Type,
  value: Readonly<Record<string, unknown>>,
  path: string,
  level: number,
  keys: ReadonlyArray<string>
): void => {
  const { findings } = context
  const known = fieldsOf(type)
  const seen = new Set<protobuf.Field | protobuf.OneOf>()
  for (const key of keys) {
    const field = known.get(key)
    const at = `${path}.${key.slice(0, 200)}`
    if (field === undefined) {
      findings.add(at, `is no field of ${type.fullName.slice(1)}`)
      continue
    }
    if (seen.has(field)) findings.add(at, `is there twice, as ${field.name} and ${jsonName(field)}`)
    seen.add(field)
    const inner = value[key]
    // Null is the field left out, but where it is a value.
    if (inner === null && !takesNull(field)) continue
    if (field.partOf !== null && field.partOf !== undefined) {
      if (seen.has(field.partOf)) findings.add(at, `only one of ${field.partOf.oneof.join(", ")} can be there`)
      seen.add(field.partOf)
    }
    fieldOf(context, field, inner, at, level + 1)
  }
}

const takesNull = ({ map, repeated, resolvedType }: protobuf.Field): boolean =>
  !map &&
  !repeated &&
  (resolvedType?.fullName === ".google.protobuf.Value" || resolvedType?.fullName === ".google.protobuf.NullValue")

const fieldOf = (context: Context, field: protobuf.Field, value: unknown, path: string, level: number): void => {
  const { findings } = context
  findings.step(path, level)
  if (field.map) {
    if (!isObject(value)) return findings.add(path, `must be an object, not ${kind(value)}`)
    for (const key of Object.keys(value)) {
      const wrong = keyOf((field as unknown as protobuf.MapField).keyType, key)
      if (wrong !== undefined) findings.add(`${path}.${key.slice(0, 200)}`, `its name ${wrong}`)
      one(context, field, value[key], `${path}.${key.slice(0, 200)}`, level + 1)
    }
    return
  }
  if (!field.repeated) return one(context, field, value, path, level)
  if (!Array.isArray(value)) return findings.add(path, `must be an array, not ${kind(value)}`)
  value.forEach((item, index) => one(context, field, item, `${path}.${index}`, level + 1))
}

const one = (context: Context, field: protobuf.Field, value: unknown, path: string, level: number): void => {
  const { findings } = context
  findings.step(path, level)
  const type = field.resolvedType
  if (type instanceof protobuf.Type) return messageOf(context, type, value, path, level + 1)
  const wrong = type instanceof protobuf.Enum ? enumOf(type, value) : scalar(field.type, value)
  if (wrong !== undefined) findings.add(path, wrong)
}

const enumOf = (type: protobuf.Enum, value: unknown): string | undefined => {
  if (type.fullName === ".google.protobuf.NullValue" && value === null) return undefined
  if (typeof value === "string" && Object.hasOwn(type.values, value)) return undefined
  // Enums are open: a number without a name is kept.
  if (Number.isInteger(value) && Math.abs((value as number) + 0.5) < 2 ** 31) return undefined
  return `must be one of ${Object.keys(type.values).join(", ").slice(0, 200)}, or its number`
}

const keyOf = (type: string, key: string): string | undefined =>
  type === "bool" ? (key === "true" || key === "false" ? undefined : "must be true or false") : scalar(type, key)

const ranges: Readonly<Record<string, readonly [bigint, bigint]>> = Object.fromEntries(
  [
    ["int32", 32, true],
    ["sint32", 32, true],
    ["sfixed32", 32, true],
    ["uint32", 32, false],
    ["fixed32", 32, false],
    ["int64", 64, true],
    ["sint64", 64, true],
    ["sfixed64", 64, true],
    ["uint64", 64, false],
    ["fixed64", 64, false]
  ].map(([name, bits, signed]) => [
    name,
    signed
      ? [-(2n ** (BigInt(bits as number) - 1n)), 2n ** (BigInt(bits as number) - 1n) - 1n]
      : [0n, 2n ** BigInt(bits as number) - 1n]
  ])
)

const scalar = (type: string, value: unknown): string | undefined => {
  if (type === "bool") return typeof value === "boolean" ? undefined : `must be a boolean, not ${kind(value)}`
  if (type === "string") {
    return typeof value === "string" && value.isWellFormed() ? undefined : `must be a string, not ${kind(value)}`
  }
  if (type === "bytes") return isBase64(value) ? undefined : "must be bytes in base64"
  if (type === "double" || type === "float") return real(type, value)
  const [least, most] = ranges[type]!
  const number =
    typeof value === "number" && Number.isSafeInteger(value)
      ? BigInt(value)
      : typeof value === "string" && /^-?\d{1,20}$/.test(value)
        ? BigInt(value)
        : undefined
  return number !== undefined && number >= least && number <= most
    ? undefined
    : `must be an integer from ${least} to ${most}${most > 2n ** 53n ? ", as text beyond 2^53" : ""}`
}

const real = (type: string, value: unknown): string | undefined => {
  if (value === "NaN" || value === "Infinity" || value === "-Infinity") return undefined
  const number =
    typeof value === "string" && /^-?\d{1,400}(?:\.\d{1,400})?(?:[eE][+-]?\d{1,4})?$/.test(value)
      ? Number(value)
      : value
  return typeof number === "number" && Number.isFinite(type === "float" ? Math.fround(number) : number)
    ? undefined
    : `must be a number (${type})`
}

const isBase64 = (value: unknown): boolean =>
  typeof value === "string" && /^[A-Za-z0-9+/_-]*={0,2}$/.test(value) && value.replace(/=+$/, "").length % 4 !== 1

/** Undefined for a message like any other; otherwise what is wrong, and nothing ("") for what is right. */
const wellKnownOf = (type: protobuf.Type, value: unknown): string | undefined => {
  const wrapped = wrappers.get(type.fullName)
  if (wrapped !== undefined) return scalar(wrapped, value) ?? ""
  const must = (right: boolean, what: string): string => (right ? "" : `must be ${what}`)
  switch (type.fullName) {
    case ".google.protobuf.Timestamp":
      return must(isTimestamp(value), "a time such as 2024-01-31T12:00:00.5Z")
    case ".google.protobuf.Duration":
      return must(isDuration(value), "a duration such as 1.5s")
    case ".google.protobuf.FieldMask":
      return must(
        typeof value === "string" && (value === "" || value.split(",").every((path) => /^[\w.]+$/.test(path))),
        "names of fields with commas between them"
      )
    case ".google.protobuf.Value":
      return ""
    case ".google.protobuf.Struct":
      return must(isObject(value), "an object")
    case ".google.protobuf.ListValue":
      return must(Array.isArray(value), "an array")
    default:
      return undefined
  }
}

const isTimestamp = (value: unknown): boolean =>
  typeof value === "string" &&
  /^(?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/.test(value) &&
  !Number.isNaN(Date.parse(value))

const isDuration = (value: unknown): boolean =>
  typeof value === "string" &&
  /^-?\d{1,12}(?:\.\d{1,9})?s$/.test(value) &&
  Math.abs(Number(value.slice(0, -1))) <= 315_576_000_000

const any = (context: Context, value: Readonly<Record<string, unknown>>, path: string, level: number): void => {
  const { findings, root } = context
  const url = value["@type"]
  if (Object.keys(value).length === 0) return
  const name = typeof url === "string" && url.includes("/") ? url.slice(url.lastIndexOf("/") + 1) : undefined
  const type = name === undefined || !/^[\w.]{1,500}$/.test(name) ? null : root.lookup(`.${name}`, protobuf.Type)
  if (!(type instanceof protobuf.Type)) return findings.add(`${path}.@type`, "must name a message of the file")
  if (wellKnownOf(type, value.value) !== undefined) {
    return messageOf(context, type, value.value, `${path}.value`, level + 1)
  }
  const keys = Object.keys(value).filter((key) => key !== "@type")
  fieldsIn(context, type, value, path, level, keys)
}
