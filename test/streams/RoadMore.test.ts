/** More of the road: what waits in decoding and detection, dedupe, halts, and drains at random moments. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Random, References, Result, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as CodecCloudEvents from "../../src/layers/CodecCloudEvents.ts"
import * as CodecJson from "../../src/layers/CodecJson.ts"
import * as CodecText from "../../src/layers/CodecText.ts"
import * as DeadLettersMemory from "../../src/layers/DeadLettersMemory.ts"
import * as DedupeMemory from "../../src/layers/DedupeMemory.ts"
import * as DetectorRules from "../../src/layers/DetectorRules.ts"
import * as PublisherMemory from "../../src/layers/PublisherMemory.ts"
import { DecodeError } from "../../src/services/Codec.ts"
import { DeadLetters, DeadLettersError } from "../../src/services/DeadLetters.ts"
import { DetectError, type Detector } from "../../src/services/Detector.ts"
import { DispatchError } from "../../src/services/Dispatcher.ts"
import { accepted } from "../../src/services/Reply.ts"
import * as Define from "../../src/streams/Define.ts"
import * as Path from "../../src/streams/Path.ts"
import * as Pipeline from "../../src/streams/Pipeline.ts"
import { KeyError } from "../../src/streams/Plan.ts"
import * as SourceMemory from "../../src/streams/SourceMemory.ts"

const decode = CodecJson.make()
const numbered = (count: number, keys: number): Array<SourceMemory.Message> =>
  Array.from({ length: count }, (_, i) => ({ id: `${i}`, key: `k${i % keys}`, payload: { n: i } }))
const tags = (source: SourceMemory.MemorySource) =>
  source.settled.map(({ envelope, settlement }) => [envelope.id, settlement._tag])
const finish = Effect.fnUntraced(function* <E>(fiber: Fiber.Fiber<void, E>) {
  for (let i = 0; i < 1000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust("100 millis")
  yield* Fiber.join(fiber)
})

const quiet = Layer.succeed(References.MinimumLogLevel, "Error")

describe("Road", () => {
  it.effect("keeps the order of arrival through a codec and a detector that wait", () =>
    Effect.gen(function* () {
      const random = yield* Random.Random
      const wait = Effect.suspend(() => Effect.sleep(Math.floor(random.nextDoubleUnsafe() * 20)))
      const seen: Array<number> = []
      const source = SourceMemory.fromIterable(numbered(300, 7))
      const fiber = yield* Define.run(
        Define.define({
          name: "waits",
          source,
          decode: {
            name: "slow",
            decode: (envelope) => {
              const event = decode.decode(envelope)
              return envelope.id.endsWith("3") ? Effect.andThen(wait, Effect.succeed(event as never)) : event
            }
          },
          detect: (event) => (Number(event.envelope.id) % 2 === 0 ? Effect.as(wait, ["x"]) : ["x"]),
          dispatch: [
            {
              run: ({ event }) => {
                seen.push((event.payload as { n: number }).n)
                return accepted(null)
              }
            }
          ]
        })
      ).pipe(Effect.forkChild)
      yield* finish(fiber)
      assert.strictEqual(seen.length, 300)
      for (let key = 0; key < 7; key++) {
        const own = seen.filter((n) => n % 7 === key)
        assert.deepStrictEqual(
          own,
          own.toSorted((a, b) => a - b)
        )
      }
    }).pipe(Random.withSeed("waits"), Effect.provide(DeadLettersMemory.layer))
  )

  for (let seed = 0; seed < 20; seed++) {
    it.effect(`drained at a random moment and started again, loses nothing and keeps order (seed ${seed})`, () =>
      Effect.gen(function* () {
        const random = yield* Random.Random
        let rest = numbered(2000, 40)
        const seen: Array<number> = []
        const published = PublisherMemory.make({ before: () => Effect.sleep(3) })
        for (let round = 0; rest.length > 0; round++) {
          const source = SourceMemory.fromIterable(rest)
          yield* Effect.gen(function* () {
            const handle = yield* Pipeline.start(
              Define.define({
                name: "drains",
                source,
                decode,
                concurrency: 16,
                dispatch: [
                  {
                    run: ({ event }) =>
                      Effect.sleep(Math.floor(random.nextDoubleUnsafe() * 30)).pipe(
                        Effect.map(() => {
                          seen.push((event.payload as { n: number }).n)
                          return accepted(event.payload)
                        })
                      )
                  }
                ],
                publish: [{ to: published }]
              })
            )
            const ended = yield* Effect.forkChild(handle.await)
            yield* TestClock.adjust(round > 3 ? "1 hour" : Math.floor(random.nextDoubleUnsafe() * 800))
            const drained = yield* Effect.forkChild(handle.drain(1000))
            yield* TestClock.adjust("10 seconds")
            yield* Fiber.join(drained)
            yield* Fiber.join(ended)
          }).pipe(Effect.scoped)
          assert.isAtMost(source.settled.length, rest.length)
          const acked = new Set(source.settled.filter((_) => _.settlement._tag === "Acked").map((_) => _.envelope.id))
          rest = rest.filter(({ id }) => !acked.has(id!))
        }
        // A stop in mid-work may run a message again, never out of order for the first time.
        const firsts = [...new Set(seen)]
        assert.strictEqual(firsts.length, 2000)
        for (let key = 0; key < 40; key++) {
          const own = firsts.filter((n) => n % 40 === key)
          assert.deepStrictEqual(
            own,
            own.toSorted((a, b) => a - b)
          )
        }
        assert.strictEqual(new Set(published.published.map(({ envelope }) => envelope.id)).size, 2000)
      }).pipe(Random.withSeed(`drain ${seed}`), Effect.provide(DeadLettersMemory.layer))
    )
  }

  it.live("keeps order and loses nothing on the real clock: 1,000 keys, 100,000 messages", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable(
        Array.from({ length: 100_000 }, (_, i) => ({ id: `${i}`, key: `k${i % 1000}`, payload: { n: i } }))
      )
      const last = new Map<string, number>()
      let worked = 0
      yield* Define.run(
        Define.define({
          name: "live",
          source,
          decode,
          concurrency: 500,
          retry: { attempts: 3, backoffMillis: 1 },
          dispatch: [
            {
              run: ({ event }) => {
                const { n } = event.payload as { readonly n: number }
                const done = () => {
                  assert.isAbove(n, last.get(event.key!) ?? -1)
                  last.set(event.key!, n)
                  worked++
                  return accepted(null)
                }
                if (n % 97 === 0)
                  return Effect.fail(new DispatchError({ reason: "no", presence: "answered", retryable: n % 2 === 0 }))
                return n % 5 === 0 ? Effect.andThen(Effect.sleep(n % 7), Effect.sync(done)) : done()
              }
            }
          ]
        })
      )
      const letters = yield* (yield* DeadLetters).list({})
      assert.strictEqual(worked + letters.length, 100_000)
      assert.strictEqual(new Set(source.settled.map((_) => _.envelope.id)).size, 100_000)
      assert.strictEqual(source.settled.length, 100_000)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.live("takes 10,000 mutated messages without a crash, each acked or buried with a reason", () =>
    Effect.gen(function* () {
      const codecs = [
        decode,
        CodecCloudEvents.make,
        CodecText.make,
        CodecJson.make(CodecJson.schema(Schema.Struct({ a: Schema.Finite })))
      ]
      const rules = Result.getOrThrow(
        DetectorRules.make([
          { event: "x", when: { "payload.a.b": { gt: 1 }, not: { "payload.__proto__": { exists: true } } } },
          { event: "y", when: { "payload.type": { matches: "^(a+)+$" } } },
          { event: "z", when: { "payload.new.a": { changed: true } } }
        ])
      )
      const seed = new TextEncoder().encode(
        '{"specversion":"1.0","id":"1","source":"s","type":"aaaa","a":{"b":[1,2.5e300,null]},"new":{"a":1},"old":null,"t":"ü\\u0000"}'
      )
      const messages: Array<SourceMemory.Message> = []
      for (let i = 0; i < 10_000; i++) {
        const bytes = [...seed]
        for (let k = yield* Random.nextIntBetween(0, 6); k > 0; k--) {
          const at = yield* Random.nextIntBetween(0, bytes.length - 1)
          const cut = yield* Random.nextIntBetween(0, 4)
          bytes.splice(at, cut, ...Array.from({ length: cut }, () => (i * 31 + k * 7 + at) & 255))
        }
        messages.push({ id: `${i}`, payload: new Uint8Array(bytes), headers: { __proto__x: "1" } })
      }
      for (const codec of codecs) {
        const source = SourceMemory.fromIterable(messages)
        yield* Define.run(
          Define.define({
            name: codec.name,
            source,
            decode: codec,
            key: ({ payload }) => Path.asKey(Path.follow(payload, ["type"])) ?? new KeyError({ reason: "no type" }),
            detect: [rules],
            publish: [{ to: PublisherMemory.make() }]
          })
        )
        assert.strictEqual(source.settled.length, 10_000)
        assert.deepStrictEqual(
          [...new Set(source.settled.map((_) => _.settlement._tag))].filter((_) => _ !== "Acked" && _ !== "Buried"),
          []
        )
      }
      for (const { reason } of yield* (yield* DeadLetters).list({})) assert.notMatch(reason, /\n\s+at |defect/)
    }).pipe(Random.withSeed("messages"), Effect.provide(Layer.mergeAll(DeadLettersMemory.layer, quiet)))
  )

  it.effect("runs a second copy of an id never, and a copy that comes early after the first gave up", () =>
    Effect.gen(function* () {
      let runs = 0
      const messages = ["a", "b", "a", "a", "b"].map((id) => ({ id, payload: { id } }))
      const source = SourceMemory.fromIterable(messages)
      const fiber = yield* Define.run(
        Define.define({
          name: "dedupe",
          source,
          decode,
          dedupe: {},
          dispatch: [
            {
              run: () => {
                runs++
                return Effect.as(Effect.sleep("1 second"), accepted(null))
              }
            }
          ]
        })
      ).pipe(Effect.forkChild)
      yield* finish(fiber)
      assert.strictEqual(runs, 2)
      assert.deepStrictEqual(
        source.settled.map((_) => _.settlement._tag),
        Array.from({ length: 5 }, () => "Acked")
      )
    }).pipe(Effect.provide(Layer.merge(DeadLettersMemory.layer, DedupeMemory.layer())))
  )

  it.effect("buries, drops or halts by policy what cannot be decoded or has no key", () =>
    Effect.gen(function* () {
      const broken = () =>
        SourceMemory.fromIterable([
          { id: "1", payload: "no" },
          { id: "2", payload: { n: 1 } }
        ])
      const plan = (source: SourceMemory.MemorySource, over: Partial<Parameters<typeof Define.define>[0]>) =>
        Define.define({ name: "policies", source, decode, ...over } as Parameters<typeof Define.define>[0])
      for (const [policy, wanted] of [
        [
          "bury",
          [
            ["1", "Buried"],
            ["2", "Acked"]
          ]
        ],
        [
          "drop",
          [
            ["1", "Acked"],
            ["2", "Acked"]
          ]
        ]
      ] as const) {
        const source = broken()
        yield* Define.run(plan(source, { onDecodeError: policy }))
        assert.deepStrictEqual<unknown>(tags(source), wanted)
      }
      const halted = broken()
      const error = yield* Effect.flip(Define.run(plan(halted, { onDecodeError: "halt" })))
      assert.strictEqual(error.kind, "halted")
      assert.match(error.message, /policies: not JSON/)
      assert.deepStrictEqual(tags(halted)[0], ["1", "Nacked"])
      const keyless = broken()
      yield* Define.run(plan(keyless, { onDecodeError: "drop", key: () => new KeyError({ reason: "no key" }) }))
      assert.deepStrictEqual(tags(keyless), [
        ["1", "Acked"],
        ["2", "Buried"]
      ])
      const answering = SourceMemory.fromIterable([{ id: "1", payload: "no" }], { answers: true })
      yield* Define.run(plan(answering, {}))
      assert.deepStrictEqual(tags(answering), [["1", "Refused"]])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("has a detector that brings its own leg act on what it finds, also on events that it learns later", () =>
    Effect.gen(function* () {
      const names = ["first"]
      const acted: Array<string> = []
      const learning: Detector = {
        name: "learning",
        get events() {
          return [...names]
        },
        detect: (event) => {
          const name = String(event.payload)
          if (!names.includes(name)) names.push(name)
          return [{ name, event }]
        },
        acts: {
          name: "learning",
          dispatch: ({ name }) => {
            acted.push(name)
            return accepted(null)
          }
        }
      }
      const source = SourceMemory.fromIterable(["first", "second"].map((payload) => ({ payload: `"${payload}"` })))
      yield* Define.run(Define.define({ name: "learning", source, decode, detect: [learning] }))
      assert.deepStrictEqual(acted, ["first", "second"])
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("counts a broken detector as not matched, and buries only when nothing else matched", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable([
        { id: "1", payload: 1 },
        { id: "2", payload: 2 }
      ])
      const done: Array<string> = []
      yield* Define.run(
        Define.define({
          name: "detectors",
          source,
          decode,
          detect: [
            {
              name: "broken",
              events: undefined,
              detect: () => Effect.fail(new DetectError({ detector: "broken", reason: "oh" }))
            },
            {
              name: "throws",
              events: undefined,
              detect: () => {
                throw new Error("ouch")
              }
            },
            { name: "odd", events: ["odd"], detect: (event) => (event.payload === 1 ? [{ name: "odd", event }] : []) }
          ],
          dispatch: [
            {
              run: ({ name }) => {
                done.push(name)
                return accepted(null)
              }
            }
          ]
        })
      )
      assert.deepStrictEqual(done, ["odd"])
      assert.deepStrictEqual(tags(source), [
        ["1", "Acked"],
        ["2", "Buried"]
      ])
      assert.match((yield* (yield* DeadLetters).list({}))[0]!.reason, /broken: oh; defect: ouch/)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("gives back and fails when the burial fails; a defect of a dispatcher is buried", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable([{ id: "1", payload: 1 }])
      const plan = Define.define({
        name: "defects",
        source,
        decode,
        dispatch: [
          {
            run: () => {
              throw new Error("a bug")
            }
          }
        ]
      })
      const full = Layer.succeed(DeadLetters, {
        ...DeadLettersMemory.make(),
        bury: () => Effect.fail(new DeadLettersError({ reason: "full" }))
      })
      const error = yield* Effect.flip(Define.run(plan).pipe(Effect.provide(full)))
      assert.strictEqual(error.kind, "failed")
      assert.match(error.message, /cannot bury: full/)
      assert.deepStrictEqual(tags(source), [["1", "Nacked"]])
      yield* Define.run(plan)
      assert.match((yield* (yield* DeadLetters).list({}))[0]!.reason, /defect: a bug/)
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("obeys its mailbox: pause, resume, resize, status, drain", () =>
    Effect.gen(function* () {
      const source = yield* SourceMemory.make()
      const handle = yield* Pipeline.start(
        Define.define({
          name: "actor",
          source,
          decode,
          concurrency: 1,
          dispatch: [{ run: () => Effect.as(Effect.sleep("1 second"), accepted(null)) }]
        })
      )
      yield* source.offer(...numbered(10, 10))
      yield* TestClock.adjust(0)
      assert.strictEqual((yield* handle.status).working, 1)
      yield* handle.resize(5)
      assert.strictEqual((yield* handle.status).working, 5)
      yield* handle.pause
      assert.strictEqual((yield* handle.status).state, "paused")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* handle.status).acked, 10)
      yield* handle.resume
      yield* source.offer(...numbered(2, 2))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* handle.status).acked, 12)
      yield* handle.drain(100)
      yield* handle.await
      yield* handle.pause
      assert.strictEqual((yield* handle.status).state, "ended")
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("fails typed when its codec fails typed, whatever the codec", () =>
    Effect.gen(function* () {
      const source = SourceMemory.fromIterable([
        { id: "1", payload: 1 },
        { id: "2", payload: 1 }
      ])
      const codec = {
        name: "odd",
        decode: ({ id }: { readonly id: string }) => {
          if (id === "1") throw new Error("thrown")
          return Effect.fail(new DecodeError({ reason: "failed" }))
        }
      }
      yield* Define.run(Define.define({ name: "codecs", source, decode: codec }))
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ reason, stage }) => [reason, stage]),
        [
          ["defect: thrown", "decode"],
          ["failed", "decode"]
        ]
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )
})

describe("Road, exactly once", () => {
  it.effect("settles once when a reply cannot be published, and keeps a letter that starts again at the dispatch", () =>
    Effect.gen(function* () {
      const cyclic: Record<string, unknown> = {}
      cyclic.self = cyclic
      let answer: unknown = cyclic
      const queue = yield* SourceMemory.make()
      const publisher = PublisherMemory.make()
      const handle = yield* Pipeline.start(
        Define.define({
          name: "odd",
          source: queue,
          decode,
          dispatch: [{ run: () => accepted(answer) }],
          publish: [{ to: publisher }]
        })
      )
      yield* queue.offer({ id: "1", key: "k", payload: 1 })
      yield* TestClock.adjust(0)
      answer = 10n
      yield* queue.offer({ id: "2", key: "k", payload: 2 })
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(tags(queue), [
        ["1", "Buried"],
        ["2", "Buried"]
      ])
      assert.strictEqual((yield* handle.status).held, 0)
      const letters = yield* (yield* DeadLetters).list({})
      assert.deepStrictEqual(
        letters.map(({ reply, stage }) => [stage, reply]),
        [
          ["dispatch", undefined],
          ["dispatch", undefined]
        ]
      )
      JSON.stringify(letters)
      answer = "fine"
      const replayed = yield* handle.replay(letters)
      assert.deepStrictEqual(
        replayed.map(({ outcome }) => outcome),
        ["acked", "acked"]
      )
      assert.strictEqual(publisher.published.length, 2)
    }).pipe(Effect.scoped, Effect.provide(DeadLettersMemory.layer))
  )

  it.effect("lets nothing of a key overtake what was given back by a halt or a failed burial", () =>
    Effect.gen(function* () {
      const full = Layer.succeed(DeadLetters, {
        ...DeadLettersMemory.make(),
        bury: () => Effect.fail(new DeadLettersError({ reason: "full" }))
      })
      class Stop extends Schema.TaggedError<Stop>()("Stop", {}) {}
      for (const policy of ["halt", "bury"] as const) {
        const seen: Array<string> = []
        const source = SourceMemory.fromIterable(numbered(20, 1))
        yield* Effect.flip(
          Define.run(
            Define.define({
              name: "overtakes",
              source,
              decode,
              dispatch: [
                {
                  run: ({ event }) => {
                    if (event.envelope.id === "3") return Effect.fail(new Stop())
                    seen.push(event.envelope.id)
                    return accepted(null)
                  }
                }
              ],
              failures: { Stop: policy }
            })
          ).pipe(Effect.provide(full))
        )
        assert.deepStrictEqual(seen, ["0", "1", "2"])
        assert.strictEqual(source.settled.filter((_) => _.settlement._tag === "Nacked").length, 17)
      }
    })
  )

  it.effect("begins no batch after the deadline: what stood behind one at work is given back", () =>
    Effect.gen(function* () {
      let batches = 0
      const source = SourceMemory.fromIterable(numbered(6, 1))
      yield* Effect.gen(function* () {
        const handle = yield* Pipeline.start(
          Define.define({
            name: "late",
            source,
            decode,
            batch: { size: 2, age: "1 second" },
            dispatch: [
              {
                run: {
                  name: "stuck",
                  dispatch: () => Effect.never,
                  dispatchBatch: () => {
                    batches++
                    return Effect.never
                  }
                }
              }
            ]
          })
        )
        yield* TestClock.adjust("2 seconds")
        const drained = yield* Effect.forkChild(handle.drain(1000))
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(drained)
      }).pipe(Effect.scoped)
      assert.strictEqual(batches, 1)
      assert.deepStrictEqual(
        source.settled.map((_) => _.settlement._tag),
        Array.from({ length: 6 }, () => "Nacked")
      )
    }).pipe(Effect.provide(DeadLettersMemory.layer))
  )
})
