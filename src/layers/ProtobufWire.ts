/** Reads the parts of protobuf's wire format. */
import { Stop } from "./SchemaFindings.ts"

/** Source: https://protobuf.dev/programming-guides/encoding/ */
export class Wire {
  #position = 0
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  more(): boolean {
    return this.#position < this.#bytes.length
  }

  tag(): { readonly number: number; readonly kind: number } {
    const tag = this.#varint()
    const number = Number(tag >> 3n)
    if (number < 1 || number > 536_870_911) throw new Stop(`${number} is no field number`)
    return { number, kind: Number(tag & 7n) }
  }

  bytes(kind: number): Uint8Array {
    if (kind !== 2) throw new Stop("a field has another form than its type")
    return this.#take(Number(this.#varint()))
  }

  skip(kind: number): void {
    if (kind === 0) this.#varint()
    else if (kind === 1) this.#take(8)
    else if (kind === 2) this.bytes(kind)
    else if (kind === 5) this.#take(4)
    else throw new Stop("it has a group, which is not proto3")
  }

  /** The wire's form of a scalar. */
  kindOf(type: string): number {
    if (type === "double" || type.endsWith("fixed64")) return 1
    if (type === "float" || type.endsWith("fixed32")) return 5
    return type === "string" || type === "bytes" ? 2 : 0
  }

  /** As JSON has it: 64 bits as text, bytes in base64. */
  scalar(type: string, kind: number): unknown {
    if (kind !== this.kindOf(type)) throw new Stop("a field has another form than its type")
    switch (type) {
      case "double":
        return real(this.#view(8).getFloat64(0, true))
      case "float":
        return real(this.#view(4).getFloat32(0, true))
      case "int32":
        return Number(BigInt.asIntN(32, this.#varint()))
      case "uint32":
        return Number(BigInt.asUintN(32, this.#varint()))
      case "sint32": {
        const bits = BigInt.asUintN(32, this.#varint())
        return Number(BigInt.asIntN(32, (bits >> 1n) ^ -(bits & 1n)))
      }
      case "int64":
        return String(BigInt.asIntN(64, this.#varint()))
      case "uint64":
        return String(BigInt.asUintN(64, this.#varint()))
      case "sint64": {
        const bits = this.#varint()
        return String(BigInt.asIntN(64, (bits >> 1n) ^ -(bits & 1n)))
      }
      case "fixed32":
        return this.#view(4).getUint32(0, true)
      case "sfixed32":
        return this.#view(4).getInt32(0, true)
      case "fixed64":
        return String(this.#view(8).getBigUint64(0, true))
      case "sfixed64":
        return String(this.#view(8).getBigInt64(0, true))
      case "bool":
        return this.#varint() !== 0n
      case "bytes":
        return Buffer.from(this.bytes(kind)).toString("base64")
      default:
        return this.#text(this.bytes(kind))
    }
  }

  #text(bytes: Uint8Array): string {
    try {
      return utf8.decode(bytes)
    } catch {
      throw new Stop("a string is not UTF-8")
    }
  }

  #take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#position) throw new Stop("it ends in the middle of a field")
    const start = this.#position
    this.#position += length
    return this.#bytes.subarray(start, this.#position)
  }

  #view(length: number): DataView {
    const { buffer, byteOffset } = this.#take(length)
    return new DataView(buffer, byteOffset, length)
  }

  #varint(): bigint {
    let bits = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#take(1)[0]!
      bits |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asUintN(64, bits)
    }
    throw new Stop("an integer has more than 64 bits")
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const real = (value: number): number | string => (Number.isFinite(value) ? value : String(value))
