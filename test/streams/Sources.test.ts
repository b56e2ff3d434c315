/** The contract suite on the sources that need no server, and what each does of its own. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer, Sink, Stdio, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as TopicsMemory from "../../src/layers/TopicsMemory.ts"
import * as Envelope from "../../src/services/Envelope.ts"
import { Topics } from "../../src/services/Topics.ts"
import * as SourceFile from "../../src/streams/SourceFile.ts"
import * as SourceGenerate from "../../src/streams/SourceGenerate.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"
import * as SourceStdin from "../../src/streams/SourceStdin.ts"
import * as SourceTopic from "../../src/streams/SourceTopic.ts"
import * as SourceSuite from "../suites/SourceSuite.ts"

const utf8 = new TextEncoder()

const stdio = (chunks: ReadonlyArray<string | Uint8Array>) =>
  Layer.succeed(
    Stdio.Stdio,
    Stdio.make({
      args: Effect.succeed([]),
      stdin: Stream.fromIterable(
        chunks.map((chunk) => (typeof chunk === "string" ? utf8.encode(chunk) : chunk)),
        {
          chunkSize: 1
        }
      ),
      stdinIsTerminal: Effect.succeed(false),
      stdoutIsTerminal: Effect.succeed(false),
      stdout: () => Sink.drain,
      stderr: () => Sink.drain
    } as never)
  )

const withFile = (text: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped()
    yield* fs.writeFileString(`${folder}/messages.ndjson`, text)
    return yield* SourceFile.make(`${folder}/messages.ndjson`)
  })

SourceSuite.suite(
  "SourceMemory",
  { givesAgain: false },
  (payloads) => Effect.succeed(SourceMemory.fromIterable(payloads.map((payload) => ({ payload })))),
  Layer.empty
)
SourceSuite.suite(
  "SourceStdin",
  { givesAgain: false },
  (payloads) =>
    SourceStdin.make.pipe(Effect.provide(stdio([payloads.join("\n").slice(0, 1000), payloads.join("\n").slice(1000)]))),
  Layer.empty
)
SourceSuite.suite("SourceFile", { givesAgain: true }, (payloads) => withFile(payloads.join("\n")), NodeServices.layer)
SourceSuite.suite(
  "SourceGenerate",
  { givesAgain: true },
  (payloads) => Effect.succeed(SourceGenerate.make({ payload: payloads, count: payloads.length })),
  Layer.empty
)

SourceSuite.suite(
  "SourceTopic",
  { givesAgain: true },
  (payloads) =>
    Effect.gen(function* () {
      const topics = yield* Topics
      const topic = crypto.randomUUID()
      yield* topics.append(
        topic,
        payloads.map((payload) => ({ id: payload, key: undefined, headers: {}, value: utf8.encode(payload) }))
      )
      return yield* SourceTopic.make({ topic, group: "g", from: "earliest" })
    }),
  TopicsMemory.layer
)

const collect = (chunks: ReadonlyArray<string | Uint8Array>) =>
  Effect.gen(function* () {
    const source = yield* SourceStdin.make
    const stream = yield* source.open
    return (yield* Stream.runCollect(stream)).map(({ envelope }) => envelope)
  }).pipe(Effect.scoped, Effect.provide(stdio(chunks)), Effect.provide(SourceSuite.alone))

describe("SourceStdin", () => {
  it.effect("cuts lines wherever the chunks fall, drops empty ones and carriage returns", () =>
    Effect.gen(function* () {
      const envelopes = yield* collect(["a", "b\r\n\n", "ü", "\nlast"])
      assert.deepStrictEqual(envelopes.map(Envelope.text), ["ab", "ü", "last"])
    })
  )

  it.effect("cuts a line beyond the limit and marks it", () =>
    Effect.gen(function* () {
      const chunk = new Uint8Array(9 * 1024 * 1024).fill(97)
      const [first, second] = yield* collect([chunk, chunk, "\nb\n"])
      assert.strictEqual(first?.payload.length, 16 * 1024 * 1024)
      assert.match(first?.broken ?? "", /longer than 16777216 bytes/)
      assert.strictEqual(Envelope.text(second!), "b")
    })
  )
})

describe("SourceGenerate", () => {
  it.effect("keeps its rate and ends after its count", () =>
    Effect.gen(function* () {
      const stream = yield* SourceGenerate.make({ rate: 100, count: 250, payload: { n: "{{n}}" } }).open
      const seen: Array<string> = []
      const fiber = yield* Stream.runForEach(stream, ({ envelope }) =>
        Effect.sync(() => seen.push(Envelope.text(envelope)))
      ).pipe(Effect.forkChild)
      yield* TestClock.adjust("1 second")
      assert.isAtLeast(seen.length, 98)
      assert.isAtMost(seen.length, 103)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      assert.strictEqual(seen.length, 250)
      assert.strictEqual(seen[249], '{"n":250}')
    }).pipe(Effect.scoped, Effect.provide(SourceSuite.alone))
  )
})
