/** The contract suite on the publishers that need no server. */
import { NodeServices } from "@effect/platform-node"
import { Effect, FileSystem, Layer, Ref, Sink, Stdio } from "effect"
import * as PublisherFile from "../../src/layers/PublisherFile.ts"
import * as PublisherMemory from "../../src/layers/PublisherMemory.ts"
import * as PublisherStdout from "../../src/layers/PublisherStdout.ts"
import * as PublisherTopic from "../../src/layers/PublisherTopic.ts"
import * as TopicsMemory from "../../src/layers/TopicsMemory.ts"
import { Topics } from "../../src/services/Topics.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const linesOf = (all: string): ReadonlyArray<string> => all.split("\n").slice(0, -1)

PublisherSuite.suite(
  "PublisherMemory",
  Effect.sync(() => {
    const publisher = PublisherMemory.make()
    return { publisher, read: Effect.sync(() => publisher.published.map(({ value }) => text(value))) }
  }),
  Layer.empty
)

PublisherSuite.suite(
  "PublisherFile",
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = `${yield* fs.makeTempDirectoryScoped()}/deep/out.ndjson`
    return {
      publisher: yield* PublisherFile.make(path),
      read: Effect.map(fs.readFileString(path), linesOf).pipe(Effect.orDie)
    }
  }),
  NodeServices.layer
)

PublisherSuite.suite(
  "PublisherTopic",
  Effect.gen(function* () {
    const topics = yield* Topics
    const reader = yield* topics.open("t", "g", "earliest")
    const read = Effect.map(reader.read(0, 1000, 1_000_000), (records) => records.map(({ value }) => text(value)))
    return { publisher: yield* PublisherTopic.make("t"), read: Effect.orDie(read) }
  }),
  TopicsMemory.layer
)

PublisherSuite.suite(
  "PublisherStdout",
  Effect.gen(function* () {
    const written = yield* Ref.make("")
    const sink = Sink.forEach((part: string | Uint8Array) =>
      Ref.update(written, (all) => all + (typeof part === "string" ? part : text(part)))
    )
    const publisher = yield* Effect.provideService(PublisherStdout.make, Stdio.Stdio, { stdout: () => sink } as never)
    return { publisher, read: Effect.map(Ref.get(written), linesOf) }
  }),
  Layer.empty
)
