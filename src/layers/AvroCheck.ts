/** Checks a value as JSON has it by an Avro type. */
import type { Type, types } from "avsc"
import type { Violation } from "../services/SchemaLanguage.ts"
import type { Logical, Parsed } from "./AvroTypes.ts"
import { collect, type Findings, isObject, kind, type Limits } from "./SchemaFindings.ts"

export const check = ({ logical, type }: Parsed, limits: Limits, value: unknown): ReadonlyArray<Violation> =>
  collect(limits, (findings) => walk({ findings, logical }, type, value, "payload", 1))

interface Context {
  readonly findings: Findings
  readonly logical: ReadonlyMap<Type, Logical>
}

const walk = (context: Context, type: Type, value: unknown, path: string, level: number): void => {
  const { findings } = context
  findings.step(path, level)
  switch (type.typeName) {
    case "record":
    case "error":
      return record(context, type as types.RecordType, value, path, level)
    case "array": {
      if (!Array.isArray(value)) return findings.add(path, `must be an array, not ${kind(value)}`)
      const { itemsType } = type as types.ArrayType
      return value.forEach((item, index) => walk(context, itemsType, item, `${path}.${index}`, level + 1))
    }
    case "map": {
      if (!isObject(value)) return findings.add(path, `must be an object, not ${kind(value)}`)
      const { valuesType } = type as types.MapType
      for (const key of Object.keys(value)) walk(context, valuesType, value[key], `${path}.${key}`, level + 1)
      return
    }
    case "union:wrapped":
    case "union:unwrapped":
      return union(context, (type as types.WrappedUnionType).types, value, path, level)
    case "enum": {
      const { symbols } = type as types.EnumType
      if (typeof value !== "string" || !symbols.includes(value)) {
        findings.add(path, `must be one of ${symbols.join(", ").slice(0, 200)}`)
      }
      return
    }
    default: {
      const wrong = scalar(type, value) ?? logically(context.logical.get(type), type, value)
      if (wrong !== undefined) findings.add(path, wrong)
    }
  }
}

const record = (context: Context, type: types.RecordType, value: unknown, path: string, level: number): void => {
  if (!isObject(value)) return context.findings.add(path, `must be an object, not ${kind(value)}`)
  const names = new Set<string>()
  for (const field of type.fields) {
    names.add(field.name)
    if (Object.hasOwn(value, field.name)) {
      walk(context, field.type, value[field.name], `${path}.${field.name}`, level + 1)
    } else if (field.defaultValue() === undefined) {
      context.findings.add(path, `must have the field ${field.name}`)
    }
  }
  for (const key of Object.keys(value)) {
    if (!names.has(key)) context.findings.add(`${path}.${key.slice(0, 200)}`, `is no field of ${type.name}`)
  }
}

/** As Avro's JSON encoding writes it, `{"branch": value}`, or plainly as the value of a branch. */
const union = (context: Context, branches: ReadonlyArray<Type>, value: unknown, path: string, level: number): void => {
  const { findings } = context
  const keys = isObject(value) ? Object.keys(value) : []
  const named = keys.length === 1 ? branches.find((branch) => nameOf(branch) === keys[0]) : undefined
  const found: Array<ReadonlyArray<Violation>> = []
  if (named !== undefined) {
    const inner = (value as Record<string, unknown>)[keys[0]!]
    const wrong = findings.apart(() => walk(context, named, inner, `${path}.${keys[0]}`, level + 1))
    if (wrong.length === 0) return
    found.push(wrong)
  }
  for (const branch of branches) {
    const wrong = findings.apart(() => walk(context, branch, value, path, level + 1))
    if (wrong.length === 0) return
    if (branch.typeName !== "null" && named === undefined) found.push(wrong)
  }
  // Where only one branch can have been meant, its violations say more.
  if (found.length === 1 && value !== null) {
    for (const { message, path } of found[0]!) findings.add(path, message)
  } else findings.add(path, `is none of ${branches.map(nameOf).join(", ").slice(0, 200)}`)
}

/** As a branch of a union. */
export const nameOf = (type: Type): string => type.branchName ?? type.typeName

const scalar = (type: Type, value: unknown): string | undefined => {
  switch (type.typeName) {
    case "null":
      return value === null ? undefined : `must be null, not ${kind(value)}`
    case "boolean":
      return typeof value === "boolean" ? undefined : `must be a boolean, not ${kind(value)}`
    case "int":
      return Number.isInteger(value) && Math.abs((value as number) + 0.5) < 2 ** 31
        ? undefined
        : "must be an integer of 32 bits"
    case "long":
      return isLong(value) ? undefined : "must be an integer of 64 bits, as text beyond 2^53"
    case "float":
    case "double":
      return isReal(value, type.typeName === "float" ? 3.402_823_5e38 : Number.MAX_VALUE)
        ? undefined
        : `must be a number (${type.typeName})`
    case "string":
      return typeof value === "string" ? undefined : `must be a string, not ${kind(value)}`
    default: {
      if (typeof value !== "string" || /[\u0100-\uffff]/.test(value)) {
        return "must be bytes: a string of the characters U+0000 to U+00FF"
      }
      const { size } = type as types.FixedType
      return type.typeName === "fixed" && value.length !== size
        ? `must have ${size} bytes, not ${value.length}`
        : undefined
    }
  }
}

const isLong = (value: unknown): boolean => {
  if (typeof value === "number") return Number.isSafeInteger(value)
  return typeof value === "string" && /^-?\d{1,19}$/.test(value) && BigInt.asIntN(64, BigInt(value)) === BigInt(value)
}

const isReal = (value: unknown, max: number): boolean =>
  typeof value === "number"
    ? Number.isFinite(value) && Math.abs(value) <= max
    : value === "NaN" || value === "Infinity" || value === "-Infinity"

/** A logical type that does not suit its type is ignored, as Avro asks. */
const logically = (logical: Logical | undefined, type: Type, value: unknown): string | undefined => {
  switch (`${type.typeName}:${logical?.name}`) {
    case "string:uuid":
      return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value as string) ? undefined : "must be a UUID"
    case "int:time-millis":
      return within(value, 86_400_000)
    case "long:time-micros":
      return within(value, 86_400_000_000)
    case "bytes:decimal":
    case "fixed:decimal":
      return Number.isInteger(logical!.precision) && digits(value as string) > logical!.precision
        ? `must have ${logical!.precision} digits at most`
        : undefined
    default:
      return undefined
  }
}

const within = (value: unknown, end: number): string | undefined =>
  Number(value) >= 0 && Number(value) < end ? undefined : "must be a time of day"

/** Of a number in two's complement, the first byte the highest. */
const digits = (bytes: string): number => {
  // Nobody has a precision that large; and reading it as a number takes more than linear time.
  if (bytes.length > 1_024 || bytes.length === 0) return bytes.length
  const hex = Buffer.from(bytes, "latin1").toString("hex")
  const value = BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`))
  return String(value).replace("-", "").length
}
