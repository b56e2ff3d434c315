/** Reads an Avro schema: its names, references and limits are looked at before the vendor's compiler sees it. */
import avro from "avsc"

export interface Limits {
  /** Levels of the document. */
  readonly depthMax: number
  /** Types, fields and symbols. */
  readonly valuesMax: number
}

export interface Parsed {
  readonly type: avro.Type
  /** The vendor leaves logical types out unless they have code. */
  readonly logical: ReadonlyMap<avro.Type, Logical>
}

export interface Logical {
  readonly name: string
  readonly precision: number
  /** 0 where none is named. */
  readonly scale: unknown
}

const primitives = new Set(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])
const compound = new Set(["record", "error", "enum", "array", "map", "fixed"])
const name = /^[A-Za-z_][A-Za-z0-9_]*$/

/** Throws: an `Error` with a sentence. */
export const parse = (schema: unknown, limits: Limits): Parsed => {
  survey(schema, limits)
  const logical = new Map<avro.Type, Logical>()
  const options = {
    // No name is known but those of the document, not even the ones every object inherits.
    registry: Object.create(null) as Record<string, avro.Type>,
    wrapUnions: "always" as const,
    noAnonymousTypes: true,
    omitRecordMethods: true,
    typeHook: (part: unknown, inner: unknown) => {
      const { logicalType, ...plain } = Object(part) as {
        logicalType?: unknown
        precision?: unknown
        scale?: unknown
        type?: unknown
      }
      if (typeof logicalType !== "string" || Array.isArray(part)) return undefined
      const type = avro.Type.forSchema(plain as never, inner as never)
      logical.set(type, { name: logicalType, precision: Number(plain.precision), scale: plain.scale ?? 0 })
      return type
    }
  }
  return { type: avro.Type.forSchema(schema as never, options as never), logical }
}

const survey = (schema: unknown, limits: Limits): void => {
  let values = 0
  const count = (path: string, depth: number): void => {
    if (++values > limits.valuesMax) throw new Error(`it has more than ${limits.valuesMax} types, fields and symbols`)
    if (depth > limits.depthMax) throw new Error(`it is deeper than ${limits.depthMax} levels, at ${path}`)
  }
  const named = (value: unknown, path: string): void => {
    const parts = typeof value === "string" ? value.split(".") : [""]
    if (!parts.every((part) => name.test(part) && part !== "__proto__")) {
      throw new Error(`${path} has a name that cannot be used: ${JSON.stringify(value)?.slice(0, 200)}`)
    }
  }
  const visit = (value: unknown, path: string, depth: number): void => {
    count(path, depth)
    if (typeof value === "string") return named(value, path)
    if (Array.isArray(value)) return value.forEach((branch, index) => visit(branch, `${path}[${index}]`, depth + 1))
    if (typeof value !== "object" || value === null) throw new Error(`${path} is not a type`)
    const node = value as Readonly<Record<string, unknown>>
    const type = node.type
    if (typeof type !== "string" || !(primitives.has(type) || compound.has(type))) {
      throw new Error(`${path} has a type that is not known: ${JSON.stringify(type)?.slice(0, 200)}`)
    }
    if (compound.has(type) && type !== "array" && type !== "map") named(node.name, path)
    if (node.namespace !== undefined && node.namespace !== "") named(node.namespace, path)
    for (const alias of list(node.aliases, path)) named(alias, path)
    if (type === "array") visit(node.items, `${path}.items`, depth + 1)
    if (type === "map") visit(node.values, `${path}.values`, depth + 1)
    for (const symbol of type === "enum" ? list(node.symbols, path) : []) {
      count(path, depth)
      named(symbol, path)
    }
    if (type === "fixed" && !(Number.isSafeInteger(node.size) && (node.size as number) >= 0)) {
      throw new Error(`${path} has no size`)
    }
    for (const field of type === "record" || type === "error" ? list(node.fields, path) : []) {
      if (typeof field !== "object" || field === null) throw new Error(`${path} has a field that is no object`)
      const { aliases, name: own, type } = field as Readonly<Record<string, unknown>>
      named(own, path)
      for (const alias of list(aliases, path)) named(alias, path)
      visit(type, `${path}.${String(own)}`, depth + 1)
    }
  }
  visit(schema, "schema", 1)
}

const list = (value: unknown, path: string): ReadonlyArray<unknown> => {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw new Error(`${path} has a list that is none`)
  return value
}
