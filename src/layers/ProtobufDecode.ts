/** Reads protobuf's binary form as the JSON mapping of the same message. */

import { Result } from "effect"
import protobuf from "protobufjs"
import { jsonName, type Parsed } from "./ProtobufTypes.ts"
import * as ProtobufWellKnown from "./ProtobufWellKnown.ts"
import { Wire } from "./ProtobufWire.ts"
import { type Limits, Stop } from "./SchemaFindings.ts"

/** Fields whose numbers are not known are skipped, as protobuf asks of readers. Fails: with a sentence. */
export const decode = (
  { message, root }: Parsed,
  limits: Limits,
  bytes: Uint8Array
): Result.Result<unknown, string> => {
  let steps = 0
  const context: Context = {
    root,
    step: (level) => {
      if (level > limits.levelsMax) throw new Stop(`it is deeper than ${limits.levelsMax} levels`)
      if (++steps > limits.stepsMax) throw new Stop(`it has more than ${limits.stepsMax} values`)
    }
  }
  try {
    return Result.succeed(messageOf(context, message, bytes, 1))
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    return Result.fail(`not protobuf: ${error.message}`)
  }
}

interface Context {
  readonly root: protobuf.Root
  readonly step: (level: number) => void
}

const messageOf = (context: Context, type: protobuf.Type, bytes: Uint8Array, level: number): unknown => {
  context.step(level)
  const values = new Map<protobuf.Field, unknown>()
  // A message that comes in pieces is one: their bytes one after the other.
  const pieces = new Map<protobuf.Field, Array<Uint8Array>>()
  const wire = new Wire(bytes)
  while (wire.more()) {
    const { number, kind } = wire.tag()
    const field = type.fieldsById[number]
    context.step(level)
    if (field === undefined) wire.skip(kind)
    else fieldOf(context, field, wire, kind, values, pieces, level)
  }
  for (const [field, parts] of pieces) {
    values.set(field, messageOf(context, field.resolvedType as protobuf.Type, Buffer.concat(parts), level + 1))
  }
  const wellKnown = ProtobufWellKnown.toJson(type, (name) => {
    const field = type.fields[name]
    return field === undefined ? undefined : values.get(field)
  })
  if (wellKnown !== undefined) return wellKnown.value
  if (type.fullName === ".google.protobuf.Any") return any(context, type, values, level)
  return Object.fromEntries([...values].map(([field, value]) => [jsonName(field), value]))
}

const fieldOf = (
  context: Context,
  field: protobuf.Field,
  wire: Wire,
  kind: number,
  values: Map<protobuf.Field, unknown>,
  pieces: Map<protobuf.Field, Array<Uint8Array>>,
  level: number
): void => {
  if (field.partOf !== null && field.partOf !== undefined) {
    // The last one of a oneof wins.
    for (const other of field.partOf.fieldsArray) {
      if (other === field) continue
      values.delete(other)
      pieces.delete(other)
    }
  }
  if (field.map) {
    const [key, value] = entryOf(context, field as unknown as protobuf.MapField, wire.bytes(kind), level + 1)
    const entries = (values.get(field) as Record<string, unknown> | undefined) ?? {}
    Object.defineProperty(entries, key, { value, enumerable: true, configurable: true, writable: true })
    values.set(field, entries)
    return
  }
  const message = field.resolvedType instanceof protobuf.Type
  if (!field.repeated) {
    if (!message) values.set(field, scalar(field, wire, kind))
    else if (pieces.has(field)) pieces.get(field)!.push(wire.bytes(kind))
    else pieces.set(field, [wire.bytes(kind)])
    return
  }
  const items = (values.get(field) as Array<unknown> | undefined) ?? []
  values.set(field, items)
  if (message) items.push(messageOf(context, field.resolvedType as protobuf.Type, wire.bytes(kind), level + 1))
  else if (kind === 2 && field.type !== "string" && field.type !== "bytes") {
    const packed = new Wire(wire.bytes(kind))
    while (packed.more()) {
      context.step(level)
      items.push(scalar(field, packed, packed.kindOf(scalarName(field))))
    }
  } else items.push(scalar(field, wire, kind))
}

const entryOf = (
  context: Context,
  field: protobuf.MapField,
  bytes: Uint8Array,
  level: number
): readonly [string, unknown] => {
  const wire = new Wire(bytes)
  let key: unknown = field.keyType === "string" ? "" : field.keyType === "bool" ? false : 0
  let value: unknown
  let inner: Array<Uint8Array> | undefined
  const message = field.resolvedType instanceof protobuf.Type
  while (wire.more()) {
    const { number, kind } = wire.tag()
    context.step(level)
    if (number === 1) key = wire.scalar(field.keyType, kind)
    else if (number !== 2) wire.skip(kind)
    else if (message) inner = [...(inner ?? []), wire.bytes(kind)]
    else value = scalar(field, wire, kind)
  }
  if (message) {
    value = messageOf(context, field.resolvedType as protobuf.Type, Buffer.concat(inner ?? []), level + 1)
  }
  return [String(key), value ?? defaultOf(field)]
}

const defaultOf = (field: protobuf.FieldBase): unknown => {
  const { resolvedType } = field
  if (resolvedType instanceof protobuf.Enum) return resolvedType.valuesById[0] ?? 0
  return { string: "", bytes: "", bool: false }[field.type] ?? (field.type.endsWith("64") ? "0" : 0)
}

const scalarName = (field: protobuf.FieldBase): string =>
  field.resolvedType instanceof protobuf.Enum ? "int32" : field.type

const scalar = (field: protobuf.FieldBase, wire: Wire, kind: number): unknown => {
  const value = wire.scalar(scalarName(field), kind)
  const type = field.resolvedType
  if (!(type instanceof protobuf.Enum)) return value
  return type.fullName === ".google.protobuf.NullValue" ? null : (type.valuesById[value as number] ?? value)
}

const any = (context: Context, type: protobuf.Type, values: Map<protobuf.Field, unknown>, level: number): unknown => {
  const url = values.get(type.fields.type_url!)
  if (url === undefined) return {}
  const name = String(url).slice(String(url).lastIndexOf("/") + 1)
  const inner = /^[\w.]{1,500}$/.test(name) ? context.root.lookup(`.${name}`, protobuf.Type) : null
  if (!(inner instanceof protobuf.Type)) throw new Stop(`an Any holds ${name.slice(0, 200)}, which is not in the file`)
  const bytes = Buffer.from((values.get(type.fields.value!) as string | undefined) ?? "", "base64")
  const value = messageOf(context, inner, bytes, level + 1)
  return ProtobufWellKnown.isPlain(inner) ? { "@type": url, value } : { "@type": url, ...(value as object) }
}
