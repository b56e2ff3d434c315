/** Tells what keeps one version of a .proto file from following another. */
import protobuf from "protobufjs"
import type { Compatibility } from "../services/SchemaRegistry.ts"
import { fieldsOf, jsonName, type Parsed } from "./ProtobufTypes.ts"

/**
 * As the wire and the JSON mapping have it. A field may be added, or removed when its number is reserved: readers skip
 * what they do not know. Names count, as they are the names in JSON.
 */
export const conflicts = (rule: Compatibility, older: Parsed, newer: Parsed): ReadonlyArray<string> => {
  if (rule === "none") return []
  const found: Array<string> = []
  if (older.message.fullName !== newer.message.fullName) {
    found.push(`events were ${older.message.fullName.slice(1)} and would be ${newer.message.fullName.slice(1)}`)
  }
  const messages = new Map(newer.messages.map((message) => [message.fullName, message]))
  for (const before of older.messages) {
    const after = messages.get(before.fullName)
    if (after === undefined) found.push(`the message ${before.fullName.slice(1)} is gone`)
    else messageConflicts(rule, before, after, found)
  }
  const enums = new Map(newer.enums.map((type) => [type.fullName, type]))
  for (const before of older.enums) {
    const after = enums.get(before.fullName)
    if (after === undefined) found.push(`the enum ${before.fullName.slice(1)} is gone`)
    else enumConflicts(before, after, found)
  }
  return found.slice(0, 100)
}

const messageConflicts = (
  rule: Compatibility,
  before: protobuf.Type,
  after: protobuf.Type,
  found: Array<string>
): void => {
  const name = before.fullName.slice(1)
  for (const was of before.fieldsArray) {
    const is = after.fieldsById[was.id]
    if (is === undefined) {
      if (!after.isReservedId(was.id)) {
        found.push(`${name}: the field ${was.name} = ${was.id} is gone and its number is not reserved`)
      }
      if (after.fields[was.name] !== undefined) {
        found.push(`${name}: the field ${was.name} had the number ${was.id} and has ${after.fields[was.name]!.id}`)
      }
      continue
    }
    if (is.name !== was.name) found.push(`${name}: the field ${was.id} was named ${was.name} and is named ${is.name}`)
    else if (jsonName(is) !== jsonName(was)) {
      found.push(`${name}: the field ${was.name} = ${was.id} was ${jsonName(was)} in JSON and is ${jsonName(is)}`)
    }
    if (shape(was) !== shape(is)) {
      found.push(`${name}: the field ${was.name} = ${was.id} was ${shape(was)} and is ${shape(is)}`)
      continue
    }
    for (const [part, from, to] of parts(was, is)) {
      if (!goes(rule, from, to)) found.push(`${name}: the ${part} ${was.name} = ${was.id} was ${from} and is ${to}`)
    }
    const oneofs = [choice(was), choice(is)]
    if (oneofs[0] !== oneofs[1]) {
      found.push(
        `${name}: the field ${was.name} = ${was.id} moved ${oneofs[1] === undefined ? "out of" : "into"} a oneof`
      )
    }
  }
  const keys = fieldsOf(after)
  for (const [key, { id }] of fieldsOf(before)) {
    const other = keys.get(key)?.id
    if (other === undefined || other === id) continue
    found.push(`${name}: the name ${key} was that of the field ${id} and is that of the field ${other} in JSON`)
  }
  for (const is of after.fieldsArray) {
    if (before.fieldsById[is.id] !== undefined) continue
    if (before.isReservedId(is.id)) found.push(`${name}: the field ${is.name} takes the reserved number ${is.id}`)
    if (before.isReservedName(is.name)) found.push(`${name}: the field ${is.id} takes the reserved name ${is.name}`)
  }
}

const shape = (field: protobuf.Field): string => (field.map ? "a map" : field.repeated ? "repeated" : "a single value")

const parts = (was: protobuf.Field, is: protobuf.Field): ReadonlyArray<readonly [string, string, string]> => [
  ["field", typeName(was), typeName(is)],
  ...(was.map
    ? [
        [
          "keys of",
          (was as unknown as protobuf.MapField).keyType,
          (is as unknown as protobuf.MapField).keyType
        ] as const
      ]
    : [])
]

const typeName = (field: protobuf.Field): string =>
  field.resolvedType === null
    ? field.type
    : `${field.resolvedType instanceof protobuf.Enum ? "enum " : ""}${field.resolvedType.fullName.slice(1)}`

/** A oneof that the file names; `optional` makes one of its own, which is none. */
const choice = (field: protobuf.Field): string | undefined => {
  const { partOf } = field
  if (partOf === null || partOf === undefined) return undefined
  return (field.options as Record<string, unknown> | undefined)?.proto3_optional === true ? undefined : partOf.name
}

/** Types that the wire writes alike, each with those whose values it can hold too. */
const wider: Readonly<Record<string, ReadonlyArray<string>>> = {
  int32: ["int64"],
  uint32: ["uint64"],
  sint32: ["sint64"]
}

const goes = (rule: Compatibility, from: string, to: string): boolean => {
  if (from === to) return true
  // Backward: everything the old type holds, the new one does. Forward: the other way round.
  const widened = wider[from]?.includes(to) === true
  const narrowed = wider[to]?.includes(from) === true
  return (rule === "backward" && widened) || (rule === "forward" && narrowed)
}

const enumConflicts = (before: protobuf.Enum, after: protobuf.Enum, found: Array<string>): void => {
  const name = before.fullName.slice(1)
  for (const [value, number] of Object.entries(before.values)) {
    if (!Object.hasOwn(after.values, value)) {
      const reserved = after.isReservedId(number) && after.isReservedName(value)
      if (after.valuesById[number] !== undefined) {
        found.push(`${name}: the value ${number} was named ${value} and is named ${after.valuesById[number]}`)
      } else if (!reserved) {
        found.push(`${name}: the value ${value} = ${number} is gone, and its number and name are not both reserved`)
      }
    } else if (after.values[value] !== number) {
      found.push(`${name}: the value ${value} was ${number} and is ${after.values[value]}`)
    }
  }
  for (const [value, number] of Object.entries(after.values)) {
    if (Object.hasOwn(before.values, value)) continue
    if (before.isReservedId(number)) found.push(`${name}: the value ${value} takes the reserved number ${number}`)
    if (before.isReservedName(value)) found.push(`${name}: the value ${number} takes the reserved name ${value}`)
  }
}
