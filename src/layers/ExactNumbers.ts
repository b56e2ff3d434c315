/** Keeps the numbers of a JSON text as they are written, also those that JavaScript's numbers cannot hold. */
import { Result } from "effect"

/** Its last argument has the text of a number since ES2025. Source: https://tc39.es/proposal-json-parse-with-source */
const exactly = JSON as unknown as {
  readonly parse: (
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown
  ) => unknown
  readonly rawJSON: (text: string) => unknown
}

/** Digits that may be too many, or an exponent that may be too large. */
const suspicious = /\d{16}|[eE][+-]?\d{3}/

/**
 * The value of a text in which such numbers stand for themselves when it is written as JSON again; undefined when there
 * are none, when the text is no JSON, or when `value` is not what it says.
 */
export const reread = (text: string, value: unknown): unknown => {
  if (!suspicious.test(text)) return undefined
  const read = Result.try(() =>
    JSON.stringify(JSON.parse(text)) === JSON.stringify(value)
      ? exactly.parse(text, (_, one, { source }) =>
          typeof one === "number" && source !== undefined ? exactly.rawJSON(source) : one
        )
      : undefined
  )
  return Result.getOrUndefined(read)
}
