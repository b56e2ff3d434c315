/** Reads the text of a .proto file: proto3, one file, and of others' files only those that come with protobuf itself. */
import protobuf from "protobufjs"

export interface Limits {
  /** Levels of messages in messages. */
  readonly depthMax: number
  /** Messages, enums, fields and enum values. */
  readonly valuesMax: number
}

export interface Parsed {
  readonly root: protobuf.Root
  /** The one that events are. */
  readonly message: protobuf.Type
  /** All of the file's, with those inside others. */
  readonly messages: ReadonlyArray<protobuf.Type>
  readonly enums: ReadonlyArray<protobuf.Enum>
}

/**
 * The message is the first of the file, or the one that a comment `// @message Name` names. Throws: an `Error` with a
 * sentence; never ends in time for some texts.
 */
export const parse = (text: string, limits: Limits): Parsed => {
  const plain = withoutComments(text)
  if (!/^\s*syntax\s*=\s*["']proto3["']\s*;/.test(plain)) throw new Error('it must begin with syntax = "proto3";')
  if (/\b__proto__\b/.test(plain)) throw new Error("nothing can be named __proto__")
  const root = new protobuf.Root()
  const { imports, package: name, weakImports } = protobuf.parse(text, root, { keepCase: true })
  // Of messages inside one another, too: what has such a name is not looked at.
  if (root.lookup("google.protobuf") !== null) {
    throw new Error("the package google.protobuf is not yours")
  }
  for (const file of [...(imports ?? []), ...(weakImports ?? [])]) {
    const known = file.startsWith("google/protobuf/") ? protobuf.common.get(file) : null
    if (known === null || known === undefined) {
      throw new Error(
        `the import ${JSON.stringify(file.slice(0, 200))} is not one of protobuf's own files: nothing is fetched`
      )
    }
    root.addJSON(known.nested ?? {})
  }
  const home = name === undefined || name === null ? root : root.lookup(name)
  if (!(home instanceof protobuf.Namespace)) throw new Error("it has no message")
  const messages: Array<protobuf.Type> = []
  const enums: Array<protobuf.Enum> = []
  survey(root, limits, messages, enums)
  root.resolveAll()
  return { root, message: messageOf(text, root, home), messages, enums }
}

const messageOf = (text: string, root: protobuf.Root, home: protobuf.NamespaceBase): protobuf.Type => {
  const asked = /^[ \t]*\/\/[ \t]*@message[ \t]+([\w.]{1,500})[ \t]*\r?$/m.exec(text)?.[1]
  if (asked !== undefined) {
    const found = home.lookup(asked, protobuf.Type) ?? root.lookup(asked, protobuf.Type)
    if (!(found instanceof protobuf.Type)) throw new Error(`// @message ${asked} names no message of the file`)
    return found
  }
  const first = home.nestedArray.find((nested) => nested instanceof protobuf.Type && !isWellKnown(nested))
  if (first === undefined) throw new Error("it has no message")
  return first as protobuf.Type
}

export const isWellKnown = (type: protobuf.ReflectionObject): boolean => type.fullName.startsWith(".google.protobuf.")

const survey = (
  root: protobuf.Root,
  limits: Limits,
  messages: Array<protobuf.Type>,
  enums: Array<protobuf.Enum>
): void => {
  let values = 0
  const count = (more: number): void => {
    values += more
    if (values > limits.valuesMax) throw new Error(`it has more than ${limits.valuesMax} messages, fields and values`)
  }
  const visit = (object: protobuf.ReflectionObject, depth: number): void => {
    if (isWellKnown(object)) return
    count(1)
    if (depth > limits.depthMax) throw new Error(`it is deeper than ${limits.depthMax} levels`)
    if (object instanceof protobuf.Field) throw new Error(`${object.fullName} extends a message: this is not proto3`)
    if (object instanceof protobuf.Enum) {
      enums.push(object)
      count(Object.keys(object.values).length)
      if (Object.values(object.values)[0] !== 0) throw new Error(`the first value of ${object.fullName} is not 0`)
    }
    if (object instanceof protobuf.Type) {
      messages.push(object)
      count(object.fieldsArray.length)
      if ((object.extensions as ReadonlyArray<unknown> | undefined)?.length)
        throw new Error(`${object.fullName} is not proto3`)
      for (const field of object.fieldsArray) {
        if (!isFieldNumber(field.id))
          throw new Error(`${field.fullName} has the number ${field.id}, which is not allowed`)
        if (field.required || field.options?.default !== undefined) throw new Error(`${field.fullName} is not proto3`)
      }
    }
    if (object instanceof protobuf.Namespace) for (const nested of object.nestedArray) visit(nested, depth + 1)
  }
  for (const nested of root.nestedArray) visit(nested, 1)
}

/** Source: https://protobuf.dev/programming-guides/proto3/#assigning */
const isFieldNumber = (id: number): boolean => id >= 1 && id < 2 ** 29 && !(id >= 19_000 && id < 20_000)

const withoutComments = (text: string): string =>
  text.replaceAll(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (token) =>
    token.startsWith("/") ? " " : token
  )

/** The name that JSON has: as the file asks, or lowerCamelCase. */
export const jsonName = (field: protobuf.Field): string => {
  const asked = (field.options as Record<string, unknown> | undefined)?.json_name
  return typeof asked === "string"
    ? asked
    : field.name.replaceAll(/_+([a-zA-Z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** Fields of a message by both their names in JSON. */
export const fieldsOf = (type: protobuf.Type): ReadonlyMap<string, protobuf.Field> => {
  const before = fields.get(type)
  if (before !== undefined) return before
  const known = new Map<string, protobuf.Field>()
  for (const field of type.fieldsArray) known.set(field.name, field)
  for (const field of type.fieldsArray) known.set(jsonName(field), field)
  fields.set(type, known)
  return known
}

const fields = new WeakMap<protobuf.Type, ReadonlyMap<string, protobuf.Field>>()

export const wrappers: ReadonlyMap<string, string> = new Map([
  [".google.protobuf.DoubleValue", "double"],
  [".google.protobuf.FloatValue", "float"],
  [".google.protobuf.Int64Value", "int64"],
  [".google.protobuf.UInt64Value", "uint64"],
  [".google.protobuf.Int32Value", "int32"],
  [".google.protobuf.UInt32Value", "uint32"],
  [".google.protobuf.BoolValue", "bool"],
  [".google.protobuf.StringValue", "string"],
  [".google.protobuf.BytesValue", "bytes"]
])
