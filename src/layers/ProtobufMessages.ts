/** Finds the message of a .proto file that a record names by its place in the file. */
import { Result } from "effect"
import protobuf from "protobufjs"
import * as ProtobufTypes from "./ProtobufTypes.ts"
import * as SchemaText from "./SchemaText.ts"
import * as TimeLimit from "./TimeLimit.ts"

export interface Limits extends ProtobufTypes.Limits {
  readonly schemaBytesMax: number
  readonly compileMillis: number
}

/** Units: characters of a message's full name. */
const nameMax = 500

/**
 * The file such that its message is the one at this place: the first number counts the messages of the file, each of
 * the others those declared inside the one before. Fails: with a sentence.
 */
export const choose = (text: string, place: ReadonlyArray<number>, limits: Limits): Result.Result<string, string> =>
  SchemaText.size(text, limits.schemaBytesMax).pipe(
    Result.flatMap(() =>
      TimeLimit.within(limits.compileMillis, () => nameAt(ProtobufTypes.parse(text, limits), place))
    ),
    Result.mapError((reason) => `not a .proto file that can be used: ${reason.slice(0, nameMax)}`),
    Result.flatMap((name) => {
      if (name === undefined) return Result.fail(`the file has no message at the place ${place.join(", ")}`)
      if (name.length > nameMax) return Result.fail(`the name of a message is longer than ${nameMax} characters`)
      // The first comment of this kind counts, so that one of the file's own changes nothing.
      return Result.succeed(`// @message ${name}\n${text}`)
    })
  )

/** From the root on, with a dot in front. */
const nameAt = ({ messages }: ProtobufTypes.Parsed, place: ReadonlyArray<number>): string | undefined => {
  let found: protobuf.Type | undefined
  for (const index of place) {
    // Those of a file come in the order in which they are declared.
    const within = messages.filter(({ parent }) =>
      found === undefined ? !(parent instanceof protobuf.Type) : parent === found
    )
    found = within[index]
    if (found === undefined) return undefined
  }
  return found?.fullName
}
