/** Appends to embedded durable topics. */
import { Effect, Result, Schema } from "effect"
import * as Chain from "../services/Chain.ts"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import { type Outgoing, PublishError, type Publisher } from "../services/Publisher.ts"
import { type NewRecord, type TopicError, Topics } from "../services/Topics.ts"
import * as TopicName from "../streams/TopicName.ts"

/** One topic for all, or a name for each message. */
export const make = Effect.fnUntraced(function* (topic: string | TopicName.TopicName) {
  const topics = yield* Topics
  const name = typeof topic === "string" ? TopicName.fixed(topic) : topic
  // A batch may go to several topics; what is done of it must not be done again when the rest is.
  const done = new WeakSet<Outgoing>()
  const append = (topic: string, group: ReadonlyArray<Outgoing>) =>
    Effect.mapError(topics.append(topic, group.map(recordOf)), failure)
  const appendNoted = (topic: string, group: ReadonlyArray<Outgoing>) =>
    Effect.tap(append(topic, group), () =>
      Effect.sync(() => {
        for (const one of group) done.add(one)
      })
    )
  const publisher: Publisher = {
    name: "topic",
    batchMax: 500,
    // One write at a time: a topic has one end to append to.
    inFlightMax: 1,
    publish: (batch) => {
      const named = TopicName.all(name, batch)
      if (Result.isFailure(named)) return Effect.fail(named.failure)
      const groups = new Map<string, Array<Outgoing>>()
      for (const { one, topic } of named.success) {
        const group = groups.get(topic)
        if (done.has(one)) continue
        if (group === undefined) groups.set(topic, [one])
        else group.push(one)
      }
      const each = groups.size > 1 ? appendNoted : append
      return Effect.forEach(groups, ([topic, group]) => each(topic, group), { discard: true })
    }
  }
  return publisher
})

export const component = Component.publisher({
  type: "topic",
  summary: "An embedded durable topic.",
  options: Schema.Struct({
    /** May hold placeholders such as {{event}}; behind a gateway it is `<client>.<event>` where it is left out. */
    topic: Schema.optionalKey(Fields.Text)
  }),
  make: ({ topic }, site) => {
    const name = TopicName.make(topic, site)
    if (Result.isFailure(name)) return Effect.fail(new Component.OptionsError({ problems: [name.failure] }))
    return make(name.success)
  }
})

const recordOf = ({ envelope, event, key, value }: Outgoing): NewRecord => ({
  id: envelope.id,
  key,
  headers: { "sluice-event": event, ...Chain.headersOf(envelope) },
  value
})

const failure = (cause: TopicError): PublishError =>
  new PublishError({
    reason: cause.message,
    presence: cause.retryable ? "busy" : "answered",
    retryable: cause.retryable,
    cause
  })
