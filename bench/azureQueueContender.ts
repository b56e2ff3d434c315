/** One contender of the Azure queue benchmark, a process of its own: says how many messages it has handled and deleted. */
import { setTimeout } from "node:timers/promises"
import { QueueClient, type ReceivedMessageItem } from "@azure/storage-queue"
import { Duration, Effect, Layer, Redacted } from "effect"
import * as AzureQueueClientSdk from "../src/layers/AzureQueueClientSdk.ts"
import * as CodecJson from "../src/layers/CodecJson.ts"
import * as DeadLettersMemory from "../src/layers/DeadLettersMemory.ts"
import * as DedupeMemory from "../src/layers/DedupeMemory.ts"
import { AzureQueueClient } from "../src/services/AzureQueue.ts"
import { accepted } from "../src/services/Reply.ts"
import * as AzureQueueOptions from "../src/streams/AzureQueueOptions.ts"
import * as Define from "../src/streams/Define.ts"
import * as SourceAzureQueue from "../src/streams/SourceAzureQueue.ts"

const [kind = "", connectionString = "", name = ""] = process.argv.slice(2)
const concurrency = 32
const handleMillis = 10

let handled = 0
setInterval(() => process.send!({ handled, cpuMicros: cpuMicros() }), 20)
const cpuMicros = (): number => {
  const { system, user } = process.cpuUsage()
  return system + user
}

const handle = async ({ messageText }: ReceivedMessageItem): Promise<void> => {
  JSON.parse(messageText)
  await setTimeout(handleMillis)
}

/** Each of 32 workers takes one message, handles it and deletes it. */
const workers = async (): Promise<void> => {
  const queue = new QueueClient(...sdk())
  const work = async (): Promise<never> => {
    for (;;) {
      const { receivedMessageItems } = await queue.receiveMessages({ numberOfMessages: 1 })
      for (const message of receivedMessageItems) {
        await handle(message)
        await queue.deleteMessage(message.messageId, message.popReceipt)
        handled++
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
}

/** Takes up to 32 messages, handles and deletes them at the same time, and takes the next. */
const batches = async (): Promise<never> => {
  const queue = new QueueClient(...sdk())
  for (;;) {
    const { receivedMessageItems } = await queue.receiveMessages({ numberOfMessages: concurrency })
    await Promise.all(
      receivedMessageItems.map(async (message) => {
        await handle(message)
        await queue.deleteMessage(message.messageId, message.popReceipt)
        handled++
      })
    )
  }
}

const sdk = (): [string, string] => [connectionString, name]

/** The pipeline as users run it, with renewal, dedupe and dead letters; a settlement counts when the delete is done. */
const sluice = Effect.gen(function* () {
  const client = yield* AzureQueueClient
  const connection = yield* AzureQueueOptions.connectionOf({
    connectionString: Redacted.make(connectionString),
    requestTimeout: Duration.seconds(30)
  })
  const source = SourceAzureQueue.make({
    pipeline: "bench",
    queue: yield* client.queue(connection, name),
    prefetch: 2 * concurrency
  })
  const plan = Define.define({
    name: "bench",
    source,
    decode: CodecJson.make(),
    concurrency,
    dispatch: [{ run: () => Effect.as(Effect.sleep(handleMillis), accepted(null)) }]
  })
  const handle = yield* Define.start(plan)
  setInterval(() => {
    handled = handle.stats.acked
  }, 20)
  yield* handle.await
}).pipe(
  Effect.scoped,
  Effect.provide(Layer.mergeAll(AzureQueueClientSdk.layer, DeadLettersMemory.layer, DedupeMemory.layer()))
)

if (kind === "workers") await workers()
else if (kind === "batches") await batches()
else await Effect.runPromise(sluice)
