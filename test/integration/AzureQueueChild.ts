/** A process of its own that uses queues: it prints which vendor packages it has loaded, and what became of its requests. */
import { registerHooks } from "node:module"
import { env } from "node:process"
import { Duration, Effect } from "effect"

const loaded = new Set<string>()
registerHooks({
  resolve: (specifier, context, next) => {
    if (/^@azure\/(?:storage-queue|identity)$/.test(specifier)) loaded.add(specifier)
    return next(specifier, context)
  }
})
const say = (line: object) => console.log(JSON.stringify(line))

const App = await import("../../src/layers/App.ts")
const AzureQueueClientSdk = await import("../../src/layers/AzureQueueClientSdk.ts")
const { AzureQueueClient } = await import("../../src/services/AzureQueue.ts")
const AzureQueueOptions = await import("../../src/streams/AzureQueueOptions.ts")

const program = Effect.gen(function* () {
  const endpoint = env.AZURE_QUEUE_ENDPOINT!
  const requestTimeout = Duration.seconds(60)
  const connection = yield* AzureQueueOptions.connectionOf({ endpoint, requestTimeout })
  const client = yield* AzureQueueClient
  const queues = yield* Effect.forEach(["first", "second"], (name) => client.queue(connection, name))
  say({ before: [...loaded], start: typeof App.start })
  for (const queue of queues) {
    yield* queue.create
    yield* queue.send(`to ${queue.name}`)
    const [received] = yield* queue.receive(1, 10)
    yield* queue.remove({ id: received!.id, receipt: yield* queue.renew(received!, 10) })
    say({ text: received!.text })
  }
})

await Effect.runPromise(
  program.pipe(
    Effect.catchTag("AzureQueueError", ({ reason, trouble }) => Effect.sync(() => say({ trouble, reason }))),
    Effect.provide(AzureQueueClientSdk.layer)
  )
)
say({ after: [...loaded].sort() })
