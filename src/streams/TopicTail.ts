/** Follows an embedded topic beside everybody who reads it: what is there, and what comes. */
import { Effect, Stream } from "effect"
import { type TopicError, type TopicRecord, Topics } from "../services/Topics.ts"

/** Units: records; bytes. What one read brings. */
const readMax = 256
const readBytesMax = 1024 * 1024

/** From the first record there is, or from the next that is appended; never ends. */
export const tail = (
  topic: string,
  from: "earliest" | "latest"
): Stream.Stream<ReadonlyArray<TopicRecord>, TopicError, Topics> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const topics = yield* Topics
      const { first, next } = yield* topics.range(topic)
      const onlooker = topics.look(topic)
      let offset = from === "earliest" ? first : next
      const read = Effect.gen(function* () {
        yield* onlooker.wait(offset)
        const records = yield* onlooker.read(offset, readMax, readBytesMax)
        offset = (records.at(-1)?.offset ?? offset - 1) + 1
        return records
      })
      return Stream.filter(Stream.fromEffectRepeat(read), (records) => records.length > 0)
    })
  )
