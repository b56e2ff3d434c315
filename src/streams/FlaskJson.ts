/** Writes JSON as Flask 1.1 answered it: keys sorted, nothing but ASCII, numbers as Python has them, and a newline behind it. */

/**
 * Rewrites JSON text. Numbers keep what tells them apart: `1.0` is not `1`, and a long integer keeps its digits.
 *
 * Source: flask/json/__init__.py, `jsonify`, version 1.1.2. Fails: throws on what is no JSON.
 */
export const rewrite = (text: string): string => {
  const parse = JSON.parse as (text: string, reviver: Reviver) => unknown
  return write(parse(text, (_, value, { source }) => (typeof value === "number" ? new Written(source!) : value)))
}

/** An answer's body. The parts have been written already: their order is that of their names. */
export const answer = (parts: Readonly<Record<string, string>>): string =>
  `{${Object.keys(parts)
    .sort(byCodePoint)
    .map((name) => `${text(name)}:${parts[name]}`)
    .join(",")}}\n`

/** A text within an answer. */
export const text = (value: string): string =>
  JSON.stringify(value).replaceAll(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`
  )

type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown

/** A number as it was written. */
class Written {
  readonly source: string

  constructor(source: string) {
    this.source = source
  }
}

const write = (value: unknown): string => {
  if (typeof value === "string") return text(value)
  if (value instanceof Written) return numeral(value.source)
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`
  if (typeof value !== "object" || value === null) return `${value}`
  const object = value as Readonly<Record<string, unknown>>
  return `{${Object.keys(object)
    .sort(byCodePoint)
    .map((name) => `${text(name)}:${write(object[name])}`)
    .join(",")}}`
}

/** An integer keeps its digits; anything else is a float, written as Python's `repr` does. */
const numeral = (source: string): string => {
  if (/^-?\d+$/.test(source)) return source === "-0" ? "0" : source
  const value = Number(source)
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity"
  const sign = value < 0 || Object.is(value, -0) ? "-" : ""
  const [digits, exponent] = scientific(Math.abs(value))
  // Source: Python's float_repr_style short: an exponent below -4 and from 16 on.
  if (exponent < -4 || exponent >= 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : ""
    const power = `${Math.abs(exponent)}`.padStart(2, "0")
    return `${sign}${digits[0]}${fraction}e${exponent < 0 ? "-" : "+"}${power}`
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0")
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`
}

/** The shortest digits that mean this number, and the power of the first of them. */
const scientific = (value: number): readonly [digits: string, exponent: number] => {
  if (value === 0) return ["0", 0]
  const [mantissa, exponent] = value.toExponential().split("e")
  return [mantissa!.replace(".", ""), Number(exponent)]
}

/** As Python sorts: by code points, not by UTF-16 units. */
const byCodePoint = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (x !== y) return rank(x) - rank(y)
  }
  return a.length - b.length
}

/** A surrogate stands for a code point above all others. */
const rank = (unit: number): number => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit)
