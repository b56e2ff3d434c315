#!/usr/bin/env node
/** Starts the program: the only place that knows the process. */
import process, { argv, env, exit, stderr, stdout, versions } from "node:process"

const [major = 0, minor = 0] = versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  stderr.write(`sluice needs Node 22.19 or newer, this is Node ${versions.node}\n`)
  exit(2)
}

// Loaded only now: on a Node that is too old they would fail in words of their own.
const { Cause, Effect, Exit, Layer, Logger, References } = await import("effect")
const NodeRuntime = await import("@effect/platform-node/NodeRuntime")
const NodeServices = await import("@effect/platform-node/NodeServices")
const Cli = await import("./layers/Cli.ts")
const EventModulesCalls = await import("./layers/EventModulesCalls.ts")
const { Environment } = await import("./layers/Environment.ts")
const Observability = await import("./layers/Observability.ts")

const levels = { debug: "Debug", info: "Info", warn: "Warn", warning: "Warn", error: "Error" } as const
const asked = (env.LOG_LEVEL ?? "info").toLowerCase()
if (!Object.hasOwn(levels, asked)) {
  stderr.write(`LOG_LEVEL: expected one of debug, info, warn, error, found ${JSON.stringify(env.LOG_LEVEL)}\n`)
  exit(2)
}

// The first signal drains; a second one stops at once. Under npm one Ctrl-C arrives twice, from the terminal and from npm:
// what comes within half a second is the same one.
const sameSignalMillis = 500
let signalledAt: number | undefined
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    signalledAt ??= performance.now()
    if (performance.now() - signalledAt > sameSignalMillis) exit(1)
  })
}

// Nobody reads any more, such as behind `| head`: that is no failure of what is done, and not worth a line that nobody
// reads either. Without this each line would throw, and to say so would throw again, without end.
stderr.on("error", () => {})
stdout.on("error", ({ code, message }: NodeJS.ErrnoException) => {
  if (code !== "EPIPE") stderr.write(`standard output: ${message}\n`)
})

// What a job throws after it has answered belongs to no message any more: it is said, and everything goes on.
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (thrown: unknown) => {
    const words = thrown instanceof Error ? thrown.message : String(thrown)
    const name = EventModulesCalls.currentName()
    const whose = name === undefined ? "" : ` by ${name}`
    stderr.write(`${JSON.stringify({ level: "ERROR", message: `thrown outside of any message${whose}: ${words}` })}\n`)
  })
}

const layer = Layer.mergeAll(
  NodeServices.layer,
  Layer.succeed(Environment, env),
  Logger.layer([Observability.logger(stderr.isTTY === true)]),
  Layer.succeed(References.MinimumLogLevel, levels[asked as keyof typeof levels])
)

Cli.main(argv.slice(2)).pipe(
  Effect.provide(layer),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    teardown: (result, end) => {
      if (Exit.isSuccess(result)) return end(0)
      if (Cause.hasInterruptsOnly(result.cause)) return end(Cli.interruptedCode(argv.slice(2)))
      const failure = result.cause.reasons.find(Cause.isFailReason)
      if (failure !== undefined) return end((failure.error as { readonly code: number }).code)
      stderr.write(`sluice failed: ${Cause.pretty(result.cause).split("\n")[0]}\n`)
      end(1)
    }
  })
)
