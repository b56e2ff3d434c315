/** Puts each reply into an Azure Storage queue as one message. */
import { Buffer, isUtf8 } from "node:buffer"
import { Duration, Effect, Result, Schema } from "effect"
import { AzureQueueClient, type AzureQueueError, type SendOptions } from "../services/AzureQueue.ts"
import * as AzureQueueConnection from "../services/AzureQueueConnection.ts"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import { PublishError, type Publisher } from "../services/Publisher.ts"
import * as AzureQueueOptions from "../streams/AzureQueueOptions.ts"
import * as AzureQueueText from "../streams/AzureQueueText.ts"

/** none: the payload is the text · base64: its bytes, as Azure Functions and older clients read them. */
const Encoding = Schema.Literals(["none", "base64"])
type Encoding = typeof Encoding.Type

export interface Options extends SendOptions {
  readonly connection: AzureQueueConnection.Connection
  readonly queue: string
  /** `none` by default. */
  readonly encoding?: Encoding | undefined
  /** Whether a queue that is missing is made; true by default. */
  readonly create?: boolean | undefined
  /** Messages that may be under way at the same time, 1 to 64; 64 by default. */
  readonly inFlightMax?: number | undefined
}

/** As many as the client keeps connections. */
const inFlightLimit = 64

export const make: (options: Options) => Effect.Effect<Publisher, never, AzureQueueClient> = Effect.fnUntraced(
  function* ({ connection, create = true, encoding = "none", inFlightMax = inFlightLimit, queue: name, ...sending }) {
    const client = yield* AzureQueueClient
    const queue = yield* client.queue(connection, name)
    const failure = (error: AzureQueueError): PublishError => publishError(queue.name, error)
    const sent = (text: string): Effect.Effect<void, AzureQueueError> => {
      const once = queue.send(text, sending)
      if (!create) return once
      return Effect.catchIf(
        once,
        ({ trouble }) => trouble === "missing",
        () => Effect.andThen(queue.create, once)
      )
    }
    return {
      name: `azure-queue:${queue.name}`,
      batchMax: 1,
      inFlightMax: Math.min(inFlightMax, inFlightLimit),
      publish: (batch) =>
        Effect.forEach(
          batch,
          ({ value }) => {
            const text = textOf(value, encoding)
            return Result.isSuccess(text)
              ? Effect.mapError(sent(text.success), failure)
              : Effect.fail(refusal(queue.name, text.failure))
          },
          { discard: true }
        )
    }
  }
)

export const component = Component.publisher({
  type: "azure-queue",
  summary: "A message in an Azure Storage queue for each reply.",
  options: Schema.Struct({
    /** Where account, connectionString and endpoint are all absent: the account of the pipeline's own queue source. */
    ...AzureQueueConnection.fields,
    queue: Fields.Text,
    /** none: the payload as text; base64: as Azure Functions expect it. */
    encoding: Fields.orElse(Encoding, "none"),
    /** How long a message is kept: 7 days unless said, or never dropped. */
    ttl: Schema.optionalKey(
      Schema.Union([Schema.Literal("never"), Fields.Duration]).annotate({
        expected: "never or a duration such as 1 day or 12h"
      })
    ),
    /** Until the message can be received, in whole seconds, at most 7 days. */
    delay: Schema.optionalKey(Fields.Duration),
    /** Whether a queue that is missing is made. */
    create: Fields.orElse(Fields.Boolean, true)
  }),
  make: ({ create, delay, encoding, queue, ttl, ...options }, site) =>
    Effect.gen(function* () {
      const delaySeconds = delay && secondsOf(delay)
      const ttlSeconds = ttl === undefined || ttl === "never" ? ttl : secondsOf(ttl)
      const connection = yield* Effect.result(
        Effect.flatMap(AzureQueueOptions.shared(options, site), (options) => AzureQueueOptions.connectionOf(options))
      )
      const problems = problemsOf(queue, delaySeconds, ttlSeconds)
      if (Result.isFailure(connection)) problems.push(...connection.failure.problems)
      if (Result.isFailure(connection) || problems.length > 0) return yield* new Component.OptionsError({ problems })
      return yield* make({
        connection: connection.success,
        queue,
        encoding,
        create,
        delaySeconds,
        ttlSeconds,
        inFlightMax: Math.max(1, site.concurrency)
      })
    })
})

const secondsOf = (duration: Duration.Duration): number => Math.ceil(Duration.toSeconds(duration))

const problemsOf = (
  queue: string,
  delaySeconds: number = 0,
  ttlSeconds: number | "never" = AzureQueueText.ttlSecondsDefault
): Array<Component.Problem> => {
  const problems: Array<Component.Problem> = []
  if (!AzureQueueOptions.isQueue(queue)) {
    problems.push({ path: ["queue"], expected: AzureQueueOptions.queueExpected, found: queue })
  }
  if (ttlSeconds === 0) problems.push({ path: ["ttl"], expected: "at least a second", found: "0 s" })
  if (delaySeconds > AzureQueueText.visibilitySecondsMax) {
    problems.push({ path: ["delay"], expected: "at most 7 days", found: `${delaySeconds} s` })
  } else if (ttlSeconds !== "never" && ttlSeconds > 0 && delaySeconds >= ttlSeconds) {
    const expected = `less than the ${ttlSeconds} s for which a message is kept`
    problems.push({ path: ["delay"], expected, found: `${delaySeconds} s` })
  }
  return problems
}

/** What lies in the queue afterwards, or why that cannot be. */
const textOf = (value: Uint8Array, encoding: Encoding): Result.Result<string, string> => {
  const { base64BytesMax, textBytesMax } = AzureQueueText
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (encoding === "base64") {
    return value.length > base64BytesMax
      ? Result.fail(`the payload has ${value.length} bytes, and as base64 a message takes at most ${base64BytesMax}`)
      : Result.succeed(bytes.toString("base64"))
  }
  if (value.length > textBytesMax) {
    return Result.fail(`the payload has ${value.length} bytes, and a message takes at most ${textBytesMax}`)
  }
  if (!isUtf8(bytes)) return Result.fail("the payload is not UTF-8 text; it can be sent with encoding: base64")
  const text = bytes.toString()
  const stranger = AzureQueueText.strangerIn(text)
  return stranger === undefined
    ? Result.succeed(text)
    : Result.fail(`the payload has ${stranger}, which a message cannot hold as text; it can with encoding: base64`)
}

const refusal = (name: string, reason: string): PublishError =>
  new PublishError({ reason: `Azure queue ${name}: ${reason}`, presence: "answered", retryable: false })

/** Whatever is not the message's fault is an outage: also a key that is wrong today. */
const publishError = (name: string, { reason, retryAfterMillis, trouble }: AzureQueueError): PublishError => {
  if (trouble === "unfit") return refusal(name, reason)
  return new PublishError({
    reason: `Azure queue ${name}: ${reason}`,
    // Only a service that is there says when to come again.
    presence: retryAfterMillis === undefined ? "unreachable" : "busy",
    retryable: true,
    ...(retryAfterMillis === undefined ? undefined : { retryAfterMillis })
  })
}
