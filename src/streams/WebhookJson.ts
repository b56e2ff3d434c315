/** Reads the body of a webhook as JSON. */
import { Result } from "effect"
import * as Utf8Text from "./Utf8Text.ts"

/** Fails: with a sentence. */
export const parse = (bytes: Uint8Array): Result.Result<unknown, string> => {
  const text = Utf8Text.read(bytes)
  return text === undefined ? Result.fail("not UTF-8 text") : parseText(Utf8Text.withoutMark(text))
}

export const parseText = (text: string): Result.Result<unknown, string> =>
  Result.try({
    try: () => JSON.parse(text) as unknown,
    catch: (error) => `not JSON: ${(error as SyntaxError).message}`
  })
