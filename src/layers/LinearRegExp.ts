/** Regular expressions whose time is linear in the text, whatever their author wants. */
import { RE2JS } from "re2js"

export interface Expression {
  readonly test: (text: string) => boolean
  /** Instructions: what one character costs at most. */
  readonly size: number
}

export interface Limits {
  /** Characters of one expression. */
  readonly patternCharsMax: number
  /** Instructions of all the expressions compiled with one `make`. */
  readonly instructionsMax: number
}

/** Compiles each expression once. Throws: an `Error` with a sentence. */
export const make = (limits: Limits): ((pattern: string) => Expression) => {
  const known = new Map<string, Expression>()
  let instructions = 0
  return (pattern) => {
    const before = known.get(pattern)
    if (before !== undefined) return before
    const shown = JSON.stringify(pattern.length > 100 ? `${pattern.slice(0, 100)}...` : pattern)
    if (pattern.length > limits.patternCharsMax) {
      throw new Error(`the expression ${shown} is longer than ${limits.patternCharsMax} characters`)
    }
    const compiled = compile(pattern, shown)
    const size = compiled.programSize()
    instructions += size
    if (instructions > limits.instructionsMax) {
      throw new Error(`with ${shown} the regular expressions have more than ${limits.instructionsMax} steps`)
    }
    const expression: Expression = { test: (text) => compiled.test(text), size }
    known.set(pattern, expression)
    return expression
  }
}

const compile = (pattern: string, shown: string): RE2JS => {
  if (/\(\?<?[=!]|\\[1-9]|\\k</.test(pattern.replaceAll("\\\\", ""))) {
    throw new Error(`the expression ${shown} looks ahead or back, which cannot be checked in linear time`)
  }
  try {
    return RE2JS.compile(RE2JS.translateRegExp(translate(pattern)))
  } catch (error) {
    throw new Error(`the expression ${shown} cannot be used: ${(error as Error).message}`)
  }
}

/** What JSON Schema's dialect (ECMA-262) writes differently, where the translation of the library leaves it. */
const translate = (pattern: string): string => {
  const spaces =
    "\\t\\n\\x{b}\\f\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}"
  let inside = false
  return pattern.replaceAll(/\\u\{([0-9a-fA-F]+)\}|\\[pP]\{([^}]*)\}|\\[\s\S]|\[\^?|\]/g, (token, point, property) => {
    if (point !== undefined) return `\\x{${point}}`
    if (property !== undefined)
      return `${token.slice(0, 2)}{${properties.get(property) ?? property.replace(/^(?:Script|sc|General_Category|gc)=/, "")}}`
    if (token === "\\s") return inside ? spaces : `[${spaces}]`
    if (token === "\\S" && !inside) return `[^${spaces}]`
    if (token === "[" || token === "[^") {
      const opens = !inside
      inside = true
      return opens ? token : `\\${token}`
    }
    if (token === "]") inside = false
    return token
  })
}

const properties = new Map([
  ["Letter", "L"],
  ["digit", "Nd"],
  ["Number", "N"],
  ["Decimal_Number", "Nd"],
  ["Uppercase_Letter", "Lu"],
  ["Lowercase_Letter", "Ll"],
  ["Punctuation", "P"],
  ["Symbol", "S"],
  ["Mark", "M"],
  ["Separator", "Z"]
])
