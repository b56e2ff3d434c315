/** The process of an EventRelay server that tests start: its options come as JSON, its commands over the channel of Node. */
import process from "node:process"
import { Effect, Redacted } from "effect"
import * as EventRelayServer from "../../src/layers/EventRelayServer.ts"
import type { Answering, Asking } from "./EventRelay.ts"

const say = (message: Answering): void => void process.send!(message)

// It ends with whoever started it.
process.on("disconnect", () => process.exit())

const program = Effect.gen(function* () {
  const run = Effect.runPromiseWith(yield* Effect.context<never>())
  const server = yield* EventRelayServer.make(JSON.parse(process.argv[2]!) as EventRelayServer.Options)
  process.on("message", ({ args, command, id }: Asking) => {
    const control = server[command] as unknown
    const result = typeof control === "function" ? control(...args) : control
    const doing = Effect.isEffect(result) ? (result as Effect.Effect<unknown, unknown>) : Effect.succeed(result)
    run(doing).then(
      (value) => say({ id, value }),
      (error) => say({ id, problem: String(error) })
    )
  })
  say({ listens: { host: server.host, port: server.port, token: Redacted.value(server.connection.token!) } })
  return yield* Effect.never
})

Effect.runPromise(Effect.scoped(program)).catch((error) => {
  say({ failed: error instanceof Error ? error.message : String(error) })
  process.exit(1)
})
