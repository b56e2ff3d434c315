/** Reads an Azure Storage queue: each message is lent for a while, lent on while it is worked, and deleted when it is done. */
import { Deferred, Duration, Effect, Fiber, FiberSet, Queue, Result, Schema, Stream } from "effect"
import { type AzureQueue, AzureQueueClient, type Received } from "../services/AzureQueue.ts"
import * as AzureQueueConnection from "../services/AzureQueueConnection.ts"
import * as Component from "../services/Component.ts"
import { type Envelope, noHeaders } from "../services/Envelope.ts"
import * as Fields from "../services/Fields.ts"
import { Downstream, type Source, SourceError } from "../services/Source.ts"
import * as AzureQueueEncoding from "./AzureQueueEncoding.ts"
import { AzureQueueLoans, type Held } from "./AzureQueueLoans.ts"
import * as AzureQueueOptions from "./AzureQueueOptions.ts"
import * as AzureQueuePoison from "./AzureQueuePoison.ts"
import { AzureQueueReceivers, type Options as ReceiversOptions } from "./AzureQueueReceivers.ts"
import * as Outage from "./Outage.ts"

interface All extends Pick<ReceiversOptions, "batchMax" | "poll" | "receivers" | "visibilitySeconds"> {
  readonly pipeline: string
  readonly queue: AzureQueue
  /** Where buried messages go besides. */
  readonly poison: AzureQueue | undefined
  readonly encoding: AzureQueueEncoding.Encoding
  /** One that was received more often is buried without being run. */
  readonly maxDequeueCount: number
  /** Units: messages received and not settled. */
  readonly prefetch: number
}

const defaults = {
  poison: undefined,
  encoding: "auto",
  maxDequeueCount: 5,
  receivers: 4,
  batchMax: 32,
  visibilitySeconds: 30,
  poll: { minMillis: 100, maxMillis: 850 },
  prefetch: 128
} as const

/** What has no default; the rest may be left out. */
export type Options = Pick<All, "pipeline" | "queue"> & Partial<All>

/** Units: messages that may stand behind others of their key, each of which is lent on again and again. */
const keyedMax = 1024

/** Units: milliseconds. How long a request under way may still bring something when everything stops. */
const lastMillis = 1_000

export const make = (given: Options): Source => {
  const options: All = { ...defaults, ...given }
  const { encoding, maxDequeueCount, pipeline, poison, prefetch, queue, visibilitySeconds } = options
  const name = `azure-queue:${queue.name}`
  const settled = new Set<string>()
  const envelopeOf = (message: Received, now: number): Envelope => {
    const { broken, isBase64, payload } = AzureQueueEncoding.decode(message.text, encoding)
    const tooOften = message.dequeueCount > maxDequeueCount
    return {
      id: message.id,
      source: name,
      key: undefined,
      headers: isBase64 ? base64Headers : noHeaders,
      payload,
      receivedAt: now,
      attempt: message.dequeueCount,
      producedAt: message.insertedAt,
      broken: tooOften ? tooOftenFor(message.dequeueCount, maxDequeueCount) : broken
    }
  }
  const open = Effect.gen(function* () {
    const { recall } = yield* Downstream
    const failure = yield* Deferred.make<never, SourceError>()
    const fork = yield* FiberSet.runtime(yield* FiberSet.make<void>())()
    const outage = Outage.make(pipeline)
    const loans = new AzureQueueLoans({
      queue,
      outage,
      visibilitySeconds,
      heldMax: prefetch,
      settled,
      onLost: recall,
      fork,
      envelopeOf
    })
    const out = yield* Queue.bounded<Held>(prefetch)
    const receivers = new AzureQueueReceivers({
      ...options,
      loans,
      outage,
      out,
      onFirstFailure: ({ reason, trouble }) =>
        trouble !== "refused"
          ? Effect.void
          : Deferred.fail(failure, new SourceError({ source: name, reason, away: false }))
    })
    yield* Effect.addFinalizer(() => loans.giveBackAll())
    yield* Effect.forkScoped(loans.renewing)
    const receiving = yield* Effect.forkScoped(receivers.run)
    const stop = Effect.gen(function* () {
      receivers.stop()
      yield* Effect.timeoutOption(Fiber.await(receiving), lastMillis)
      yield* Fiber.interrupt(receiving)
      yield* loans.giveBackAll(yield* Queue.clear(out))
    })
    return Stream.fromQueue(out).pipe(Stream.interruptWhen(Deferred.await(failure)), Stream.ensuring(stop))
  })
  return {
    name,
    redelivers: true,
    repeats: true,
    answers: false,
    open,
    setAside: poison && AzureQueuePoison.make(poison)
  }
}

const base64Headers = Object.freeze({ [AzureQueueEncoding.encodingHeader]: "base64" })

const tooOftenFor = (count: number, most: number): string =>
  `received ${count} times, more than maxDequeueCount (${most}): it may be what ended the process each time`

/** Whole seconds, as the service counts them. */
const secondsOf = (duration: Duration.Duration): number => Math.max(1, Math.ceil(Duration.toSeconds(duration)))

export const component = Component.source({
  type: "azure-queue",
  summary:
    "An Azure Storage queue: lent while it is worked, deleted when done, with a poison queue for what is buried.",
  options: Schema.Struct({
    ...AzureQueueConnection.fields,
    queue: Fields.Text,
    /** How the payload stands in the message's text; auto finds base64 where it stands for JSON. */
    encoding: Fields.orElse(Schema.Literals(["auto", "none", "base64"]), defaults.encoding),
    /** How long a message is lent; it is lent on while it is worked. From 1 second to 7 days. */
    visibility: Fields.orElse(Fields.Duration, Duration.seconds(defaults.visibilitySeconds)),
    /** Messages per request. */
    batch: Fields.orElse(Fields.int(1, 32), defaults.batchMax),
    /** Requests at the same time while there is much to receive. */
    receivers: Fields.orElse(Fields.int(1, 32), defaults.receivers),
    /** Messages received and not settled; by default twice the concurrency, and more where the pipeline has keys. */
    prefetch: Schema.optionalKey(Fields.int(1, 100_000)),
    /** Between two looks at an empty queue. */
    poll: Fields.group({
      min: Fields.orElse(Fields.Duration, Duration.millis(defaults.poll.minMillis)),
      max: Fields.orElse(Fields.Duration, Duration.millis(defaults.poll.maxMillis))
    }),
    /** One that was received more often is buried without being run. */
    maxDequeueCount: Fields.orElse(Fields.int(1), defaults.maxDequeueCount),
    /** The queue that buried messages go to besides, `<queue>-poison` by default; false for none. */
    poison: Schema.optionalKey(Schema.Union([Schema.Literal(false), Fields.Text]))
  }),
  make: (options, site) =>
    Effect.gen(function* () {
      const { poison = `${options.queue}-poison`, poll, queue } = options
      const problems: Array<Component.Problem> = []
      const wants = (name: string, expected: string, found: unknown) => problems.push({ path: [name], expected, found })
      if (!AzureQueueOptions.isQueue(queue)) wants("queue", AzureQueueOptions.queueExpected, queue)
      else if (poison !== false && !AzureQueueOptions.isQueue(poison)) {
        wants("poison", AzureQueueOptions.queueExpected, poison)
      } else if (poison === queue) wants("poison", "another queue", poison)
      const visibilitySeconds = secondsOf(options.visibility)
      if (visibilitySeconds > 7 * 24 * 3600) wants("visibility", "at most 7 days", Duration.format(options.visibility))
      const [minMillis, maxMillis] = [Duration.toMillis(poll.min), Duration.toMillis(poll.max)]
      if (minMillis < 10 || maxMillis < minMillis) {
        wants(
          "poll",
          "min from 10 millis, and max not below it",
          `${Duration.format(poll.min)} and ${Duration.format(poll.max)}`
        )
      }
      const connected = yield* Effect.result(AzureQueueOptions.connectionOf(options))
      if (Result.isFailure(connected)) problems.push(...connected.failure.problems)
      if (Result.isFailure(connected) || problems.length > 0) return yield* new Component.OptionsError({ problems })
      const client = yield* AzureQueueClient
      const { bufferMessages, concurrency, keyed, pipeline } = site
      return make({
        pipeline,
        queue: yield* client.queue(connected.success, queue),
        poison: poison === false ? undefined : yield* client.queue(connected.success, poison),
        encoding: options.encoding,
        maxDequeueCount: options.maxDequeueCount,
        prefetch: options.prefetch ?? (keyed ? concurrency + Math.min(bufferMessages, keyedMax) : 2 * concurrency),
        receivers: options.receivers,
        batchMax: options.batch,
        visibilitySeconds,
        poll: { minMillis, maxMillis }
      })
    })
})
