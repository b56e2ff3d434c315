/** Writes protobuf's own messages as its JSON mapping has them. */
import type protobuf from "protobufjs"
import { wrappers } from "./ProtobufTypes.ts"
import { Stop } from "./SchemaFindings.ts"

/** Undefined for a message like any other. */
export const toJson = (
  type: protobuf.Type,
  get: (field: string) => unknown
): { readonly value: unknown } | undefined => {
  const wrapped = wrappers.get(type.fullName)
  if (wrapped !== undefined) return { value: get("value") ?? zero(wrapped) }
  switch (type.fullName) {
    case ".google.protobuf.Timestamp":
      return { value: timestamp(Number(get("seconds") ?? 0), Number(get("nanos") ?? 0)) }
    case ".google.protobuf.Duration":
      return { value: duration(BigInt((get("seconds") as string | undefined) ?? 0), Number(get("nanos") ?? 0)) }
    case ".google.protobuf.FieldMask":
      return { value: ((get("paths") as ReadonlyArray<string> | undefined) ?? []).map(camel).join(",") }
    case ".google.protobuf.Struct":
      return { value: get("fields") ?? {} }
    case ".google.protobuf.ListValue":
      return { value: get("values") ?? [] }
    case ".google.protobuf.Value": {
      for (const kind of ["numberValue", "stringValue", "boolValue", "structValue", "listValue"]) {
        const value = get(kind)
        if (value !== undefined) return { value }
      }
      return { value: null }
    }
    default:
      return undefined
  }
}

/** Whether its JSON is no object of its fields. */
export const isPlain = (type: protobuf.Type): boolean => toJson(type, () => undefined) !== undefined

const zero = (type: string): unknown =>
  type === "string" || type === "bytes" ? "" : type === "bool" ? false : type.endsWith("64") ? "0" : 0

const timestamp = (seconds: number, nanos: number): string => {
  if (!(seconds >= -62_135_596_800 && seconds <= 253_402_300_799 && nanos >= 0 && nanos < 1e9)) {
    throw new Stop("a Timestamp is outside of the years 1 to 9999")
  }
  return new Date(seconds * 1000).toISOString().replace(/\.000Z$/, `${fraction(nanos)}Z`)
}

const duration = (seconds: bigint, nanos: number): string => {
  const mixed = (seconds > 0n && nanos < 0) || (seconds < 0n && nanos > 0)
  if (seconds > 315_576_000_000n || seconds < -315_576_000_000n || Math.abs(nanos) >= 1e9 || mixed) {
    throw new Stop("a Duration is larger than 10,000 years, or has two signs")
  }
  const sign = seconds < 0n || nanos < 0 ? "-" : ""
  return `${sign}${String(seconds).replace("-", "")}${fraction(Math.abs(nanos))}s`
}

const fraction = (nanos: number): string => (nanos === 0 ? "" : `.${String(nanos).padStart(9, "0").replace(/0+$/, "")}`)

const camel = (path: string): string => path.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
