/** Reads the text of a schema within limits, for every language that is JSON. */
import { Result } from "effect"

/** As for an event. */
export const bytesMaxDefault = 1_048_576

/** Fails: with a sentence. */
export const parse = (text: string, bytesMax: number): Result.Result<unknown, string> =>
  Result.flatMap(size(text, bytesMax), () =>
    Result.try({
      try: () => JSON.parse(text) as unknown,
      catch: (error) => `not JSON: ${(error as SyntaxError).message}`
    })
  )

export const size = (text: string, bytesMax: number): Result.Result<void, string> =>
  // A character is one byte at least: most of what is too large need not be measured.
  text.length > bytesMax || Buffer.byteLength(text) > bytesMax
    ? Result.fail(`the schema is larger than ${bytesMax} bytes`)
    : Result.void
