/** Reads Avro's binary form as the JSON encoding of the same value. */
import type { Type, types } from "avsc"
import { Result } from "effect"
import { type Limits, Stop } from "./SchemaFindings.ts"

/** Longs beyond 2^53 become text, bytes a string of the characters U+0000 to U+00FF. Fails: with a sentence. */
export const decode = (type: Type, limits: Limits, bytes: Uint8Array): Result.Result<unknown, string> => {
  const reader = new Reader(bytes, limits)
  try {
    const value = read(reader, type, 1)
    return reader.position === bytes.length
      ? Result.succeed(value)
      : Result.fail(`not Avro: ${bytes.length - reader.position} bytes are left over`)
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    return Result.fail(`not Avro: ${error.message}`)
  }
}

const read = (reader: Reader, type: Type, level: number): unknown => {
  reader.step(level)
  switch (type.typeName) {
    case "null":
      return null
    case "boolean": {
      const byte = reader.take(1)[0]!
      if (byte > 1) throw new Stop(`a boolean is 0 or 1, not ${byte}`)
      return byte === 1
    }
    case "int": {
      const value = reader.long()
      if (typeof value !== "number" || Math.abs(value + 0.5) >= 2 ** 31) throw new Stop("an int has more than 32 bits")
      return value
    }
    case "long":
      return reader.long()
    case "float":
      return real(reader.view(4).getFloat32(0, true))
    case "double":
      return real(reader.view(8).getFloat64(0, true))
    case "bytes":
      return latin1(reader.take(reader.length()))
    case "fixed":
      return latin1(reader.take((type as types.FixedType).size))
    case "string":
      return reader.text()
    case "enum": {
      const symbol = (type as types.EnumType).symbols[reader.length()]
      if (symbol === undefined) throw new Stop("an enum has no such symbol")
      return symbol
    }
    case "array": {
      const items: Array<unknown> = []
      reader.blocks(() => items.push(read(reader, (type as types.ArrayType).itemsType, level + 1)))
      return items
    }
    case "map": {
      const entries: Array<readonly [string, unknown]> = []
      reader.blocks(() => entries.push([reader.text(), read(reader, (type as types.MapType).valuesType, level + 1)]))
      return Object.fromEntries(entries)
    }
    case "record":
    case "error":
      return Object.fromEntries(
        (type as types.RecordType).fields.map((field) => [field.name, read(reader, field.type, level + 1)])
      )
    default: {
      const branch = (type as types.WrappedUnionType).types[reader.length()]
      if (branch === undefined) throw new Stop("a union has no such branch")
      const value = read(reader, branch, level + 1)
      return branch.typeName === "null" ? null : { [branch.branchName ?? branch.typeName]: value }
    }
  }
}

const real = (value: number): number | string => (Number.isFinite(value) ? value : String(value))
const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

class Reader {
  position = 0
  #steps = 0
  readonly #bytes: Uint8Array
  readonly #limits: Limits

  constructor(bytes: Uint8Array, limits: Limits) {
    this.#bytes = bytes
    this.#limits = limits
  }

  /** Items of no bytes cost nothing to claim: so steps are counted, not bytes. */
  step(level: number): void {
    if (level > this.#limits.levelsMax) throw new Stop(`it is deeper than ${this.#limits.levelsMax} levels`)
    if (++this.#steps > this.#limits.stepsMax) throw new Stop(`it has more than ${this.#limits.stepsMax} values`)
  }

  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.position) throw new Stop("it ends in the middle of a value")
    const start = this.position
    this.position += length
    return this.#bytes.subarray(start, this.position)
  }

  view(length: number): DataView {
    const { buffer, byteOffset } = this.take(length)
    return new DataView(buffer, byteOffset, length)
  }

  text(): string {
    try {
      return utf8.decode(this.take(this.length()))
    } catch (error) {
      throw error instanceof Stop ? error : new Stop("a string is not UTF-8")
    }
  }

  long(): number | string {
    let bits = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.take(1)[0]!
      if (shift > 63n || (shift === 63n && byte > 1)) throw new Stop("an integer has more than 64 bits")
      bits |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) break
    }
    const value = BigInt.asIntN(64, (bits >> 1n) ^ -(bits & 1n))
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : String(value)
  }

  length(): number {
    const value = this.long()
    if (typeof value !== "number" || value < 0) throw new Stop(`${value} is no length`)
    return value
  }

  blocks(item: () => void): void {
    for (;;) {
      const count = Number(this.long())
      if (count === 0) return
      // A negative count is followed by the block's size, for those who skip it.
      if (count < 0) this.length()
      for (let left = Math.abs(count); left > 0; left--) item()
    }
  }
}
