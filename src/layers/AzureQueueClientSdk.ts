/** Azure Storage queues by Microsoft's own packages, which are loaded when the first request is made. */
import { Agent as HttpAgent } from "node:http"
import { Agent as HttpsAgent } from "node:https"
import type { QueueClient, ReceivedMessageItem, StoragePipelineOptions } from "@azure/storage-queue"
import { Effect, Layer, Redacted } from "effect"
import { type AzureQueue, AzureQueueClient, AzureQueueError } from "../services/AzureQueue.ts"
import type { Connection } from "../services/AzureQueueConnection.ts"
import * as AzureQueueText from "../streams/AzureQueueText.ts"
import * as AzureQueueSdkCredential from "./AzureQueueSdkCredential.ts"
import * as AzureQueueSdkErrors from "./AzureQueueSdkErrors.ts"
import * as AzureQueueSdkWire from "./AzureQueueSdkWire.ts"

/** Units: connections to one endpoint that are open at the same time; they are kept for the next request. */
const connectionsMax = 64
/** Units: milliseconds a connection is kept without use. */
const idleMillis = 60_000

/** The connections close with the layer. */
export const layer: Layer.Layer<AzureQueueClient> = Layer.effect(
  AzureQueueClient,
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const options = { keepAlive: true, maxSockets: connectionsMax, timeout: idleMillis }
        return { "http:": new HttpAgent(options), "https:": new HttpsAgent(options) }
      }),
      (agents) =>
        Effect.sync(() => {
          for (const agent of Object.values(agents)) agent.destroy()
        })
    ),
    (agents) => ({ queue: (connection, name) => Effect.sync(() => queueOf(connection, name, agents)) })
  )
)

const queueOf = (connection: Connection, name: string, agents: AzureQueueSdkWire.Agents): AzureQueue => {
  const { account, requestMillis } = connection
  const conceal = AzureQueueSdkErrors.concealed(connection)
  let loaded: Promise<QueueClient> | undefined
  const client = (): Promise<QueueClient> => {
    loaded ??= load(connection, name, agents).catch((error) => {
      loaded = undefined
      throw error
    })
    return loaded
  }
  /** Interrupted, and when it takes too long, the request is aborted. */
  const asked = <A>(
    asking: AzureQueueSdkErrors.Asking,
    request: (client: QueueClient, abortSignal: AbortSignal) => Promise<A>
  ): Effect.Effect<A, AzureQueueError> =>
    Effect.tryPromise({
      try: async (signal) => request(await client(), signal),
      catch: (thrown) => AzureQueueSdkErrors.azureQueueError(thrown, asking, conceal)
    }).pipe(
      Effect.timeoutOrElse({
        duration: requestMillis,
        orElse: () => Effect.fail(AzureQueueSdkErrors.late(requestMillis))
      })
    )
  return {
    name: `${account}/${name}`,
    receive: (count, visibilitySeconds) =>
      asked("receive", async (client, abortSignal) => {
        const answer = await client.receiveMessages({
          numberOfMessages: count,
          visibilityTimeout: visibilitySeconds,
          abortSignal
        })
        const texts = AzureQueueSdkWire.textsOf(answer._response.bodyAsText ?? "")
        return answer.receivedMessageItems.map((item, i) => receivedOf(item, texts[i] ?? item.messageText))
      }),
    renew: ({ id, receipt }, visibilitySeconds) =>
      asked("renew", async (client, abortSignal) => {
        // Without a text it keeps the one it has.
        const { popReceipt } = await client.updateMessage(id, receipt, undefined, visibilitySeconds, { abortSignal })
        return popReceipt!
      }),
    remove: ({ id, receipt }) =>
      asked("remove", async (client, abortSignal) => {
        await client.deleteMessage(id, receipt, { abortSignal })
      }),
    send: (text, { delaySeconds, ttlSeconds } = {}) => {
      const unfitness = AzureQueueText.unfitness(text)
      if (unfitness !== undefined) return Effect.fail(new AzureQueueError({ trouble: "unfit", reason: unfitness }))
      return asked("send", async (client, abortSignal) => {
        await client.sendMessage(text, {
          ...(delaySeconds === undefined ? undefined : { visibilityTimeout: delaySeconds }),
          ...(ttlSeconds === undefined ? undefined : { messageTimeToLive: ttlSeconds === "never" ? -1 : ttlSeconds }),
          abortSignal
        })
      })
    },
    create: asked("create", async (client, abortSignal) => {
      await client.create({ abortSignal })
    }).pipe(Effect.catchIf(AzureQueueSdkErrors.isThere, () => Effect.void))
  }
}

const receivedOf = (item: ReceivedMessageItem, text: string) => ({
  id: item.messageId,
  receipt: item.popReceipt,
  text,
  dequeueCount: item.dequeueCount,
  insertedAt: item.insertedOn.getTime()
})

/** The service's own limit for one request. Units: milliseconds. */
const serverMillisMax = 30_000

const load = async (
  { account, credential, endpoint, requestMillis }: Connection,
  name: string,
  agents: AzureQueueSdkWire.Agents
): Promise<QueueClient> => {
  const { QueueClient, StorageSharedKeyCredential, newPipeline } = await import("@azure/storage-queue")
  const who =
    credential._tag === "Key"
      ? new StorageSharedKeyCredential(account, Redacted.value(credential.key))
      : credential._tag === "Identity"
        ? AzureQueueSdkCredential.shared
        : undefined
  const options: StoragePipelineOptions = {
    // Nothing is tried twice in here, and the service gives up when we do.
    retryOptions: { maxTries: 1, tryTimeoutInMs: Math.min(Math.max(requestMillis, 1000), serverMillisMax) },
    userAgentOptions: { userAgentPrefix: "sluice" }
  }
  const pipeline = newPipeline(who, options)
  pipeline.factories.push(AzureQueueSdkWire.policy(agents))
  const query = credential._tag === "Sas" ? `?${Redacted.value(credential.sas)}` : ""
  return new QueueClient(`${endpoint}/${name}${query}`, pipeline)
}
