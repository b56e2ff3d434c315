/** A process whose main thread does what `StallWatch.test.ts` asks for, watched. */
import { execFileSync } from "node:child_process"
import { resolve } from "node:path"
import process from "node:process"
import { Effect } from "effect"
import * as StallWatch from "../../src/layers/StallWatch.ts"
import { awaitForever, loop } from "./stalling/loops.ts"

const [, , kind = "", limit = "300", folder = "none"] = process.argv
const sleep = (millis: number) => new Promise((resume) => setTimeout(resume, millis))
const spin = (millis: number) => {
  for (const until = performance.now() + millis; performance.now() < until; );
}

const kinds: Record<string, (watch: StallWatch.StallWatch) => unknown> = {
  loop: (watch) =>
    watch.call("order.paid", () => {
      while (true);
    }),
  regex: (watch) => watch.call("order.paid", () => /^(a+)+$/.test(`${"a".repeat(60)}b`)),
  sort: (watch) => watch.call("order.paid", () => Array.from({ length: 3e6 }, Math.random).sort()),
  parse: (watch) =>
    watch.call("order.paid", () => {
      const text = `[${'[1,2,3,{"a":1}],'.repeat(3e6)}1]`
      while (true) JSON.parse(text)
    }),
  wait: (watch) => watch.call("order.paid", () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)),
  child: (watch) => watch.call("order.paid", () => execFileSync("sleep", ["20"])),
  nested: (watch) =>
    watch.call("outer", () => {
      watch.call("inner", () => 1)
      while (true);
    }),
  later: (watch) => watch.call("order.paid", () => sleep(50).then(loop)),
  promises: (watch) => watch.call("order.paid", () => sleep(50).then(awaitForever)),
  thrown: async (watch) => {
    try {
      watch.call("order.paid", () => {
        throw new Error("broken")
      })
    } catch {
      spin(1_500)
    }
  },
  own: () => spin(1_500),
  many: async (watch) => {
    for (let i = 0; i < 300; i++) watch.call("order.paid", () => spin(10))
  },
  awaits: (watch) => watch.call("order.paid", () => sleep(2_000)),
  turns: (watch) =>
    watch.call("order.paid", async () => {
      for (let i = 0; i < 20; i++) {
        spin(100)
        await sleep(0)
      }
    }),
  spins: (watch) => watch.call("order.paid", () => spin(1_500)),
  ready: async () => {
    process.stdout.write("ready\n")
    await sleep(1_500)
  },
  busy: async (watch) => {
    process.stdout.write("ready\n")
    for (const until = performance.now() + 2_500; performance.now() < until; await sleep(0)) {
      watch.call("order.paid", () => spin(50))
    }
  },
  cost: (watch) => {
    const rounds = 2_000_000
    const names = Array.from({ length: 200 }, (_, i) => `event.${i}`)
    const run = () => {
      const from = performance.now()
      for (let i = 0; i < rounds; i++) {
        watch.enter(names[i % 200]!)
        watch.leave()
      }
      return ((performance.now() - from) * 1e6) / rounds
    }
    run()
    process.stdout.write(`${run().toFixed(1)}\n`)
  },
  ended: () => undefined
}

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const watch = yield* StallWatch.make({
        limitMillis: Number(limit),
        folders: folder === "own" ? [resolve(import.meta.dirname, "stalling")] : [],
        terminal: false
      })
      // The thread is there before the main thread is kept.
      yield* Effect.sleep("400 millis")
      yield* Effect.promise(async () => kinds[kind]!(watch))
    })
  )
)
process.stdout.write("went on\n")
