/** Which topic a message goes to: one name for all, or one that is filled from the message, such as {{event}}. */
import { Result } from "effect"
import type { Problem, Site } from "../services/Component.ts"
import { type Outgoing, PublishError } from "../services/Publisher.ts"
import * as KafkaOptions from "./KafkaOptions.ts"
import * as Placeholders from "./Placeholders.ts"

export interface TopicName {
  /** As it was configured. */
  readonly text: string
  /** Whether it is one for all. */
  readonly fixed: boolean
  /** Fails: with a sentence why this message has no topic. */
  readonly of: (one: Outgoing) => Result.Result<string, string>
}

/** What an event gateway is for: each event in a topic of its name. */
const ofGateway = "{{envelope.headers.client}}.{{envelope.headers.event}}"

/** Always this one. */
export const fixed = (text: string): TopicName => {
  const name = Result.succeed(text)
  return { text, fixed: true, of: () => name }
}

/** Reads the option `topic`; behind a gateway it may be absent. Fails: with what is wrong with it. */
export const make = (
  topic: string | undefined,
  { source }: Pick<Site, "source">
): Result.Result<TopicName, Problem> => {
  const text = topic ?? (source.type === "gateway" ? ofGateway : undefined)
  const problem = (expected: string): Problem => ({ path: ["topic"], expected, found: topic })
  if (text === undefined) return Result.fail(problem("a topic, since the source is no gateway"))
  const compiled = Placeholders.compile(text, ["envelope", "event"])
  if (Result.isFailure(compiled)) return Result.fail(problem(compiled.failure))
  const { fill, isPlain } = compiled.success
  if (isPlain) return Result.succeed(fixed(text))
  return Result.succeed({
    text,
    fixed: false,
    of: ({ envelope, event, key }) => {
      // Neither the payload nor a reply is at hand here, and no path reads them.
      const found = { envelope, payload: undefined, key }
      const filled = fill({ event: found, detection: { name: event, event: found } })
      if (Result.isFailure(filled)) return Result.fail(`the topic ${text} has no text at ${filled.failure}`)
      const name = filled.success
      return KafkaOptions.isTopic(name)
        ? filled
        : Result.fail(`${JSON.stringify(name)} is not ${KafkaOptions.topicExpected}`)
    }
  })
}

/** The messages of a batch with their topics, all or none: a batch that fails is divided, and what has none buried. */
export const all = (
  topic: TopicName,
  batch: ReadonlyArray<Outgoing>
): Result.Result<ReadonlyArray<{ readonly one: Outgoing; readonly topic: string }>, PublishError> => {
  const named: Array<{ readonly one: Outgoing; readonly topic: string }> = []
  for (const one of batch) {
    const name = topic.of(one)
    if (Result.isFailure(name)) {
      return Result.fail(new PublishError({ reason: name.failure, presence: "answered", retryable: false }))
    }
    named.push({ one, topic: name.success })
  }
  return Result.succeed(named)
}
