/** What tests of sources of EventRelay share: a server in memory, and processes on one store that can be killed. */
import { Deferred, Effect, Exit, Scope, Stream } from "effect"
import * as EventRelayMemory from "../../src/layers/EventRelayMemory.ts"
import * as InboxMemory from "../../src/layers/InboxMemory.ts"
import type { DeadLetters } from "../../src/services/DeadLetters.ts"
import type { Delivery } from "../../src/services/Delivery.ts"
import * as Envelope from "../../src/services/Envelope.ts"
import type { Channel } from "../../src/services/EventRelay.ts"
import { Inbox, InboxError } from "../../src/services/Inbox.ts"
import { accepted, refused } from "../../src/services/Reply.ts"
import type { Source } from "../../src/services/Source.ts"
import * as Define from "../../src/streams/Define.ts"
import * as EventRelayDestination from "../../src/streams/EventRelayDestination.ts"
import type * as EventRelayEvent from "../../src/streams/EventRelayEvent.ts"
import type { Handle } from "../../src/streams/Pipeline.ts"

/** Given what `put` was given. */
export type Run = (value: any, payload: EventRelayEvent.Payload) => Effect.Effect<unknown>

export interface Running {
  readonly source: Source
  readonly handle: Handle
  /** Drains and ends; then nothing of it is left. */
  readonly stop: Effect.Effect<void>
  /** As kill -9: it calls nobody, writes nothing and runs nothing any more. */
  readonly kill: Effect.Effect<void>
}

export interface World {
  readonly relay: EventRelayMemory.EventRelayInMemory
  readonly destination: string
  /** Takes nothing while it is broken. */
  readonly store: { broken: boolean }
  /** Publishes events with these values in their data; their ids come back. */
  readonly put: (...values: ReadonlyArray<unknown>) => Effect.Effect<ReadonlyArray<string>>
  /** How many of the destination are out. */
  readonly out: () => number
  /** A process with one pipeline; what its job returns `false` for is refused. */
  readonly start: (
    run: Run,
    more?: Partial<EventRelayDestination.Options> & {
      readonly concurrency?: number
      readonly connections?: number
      /** Of all processes together that have this store; each world has one of its own. */
      readonly token?: string
    }
  ) => Effect.Effect<Running, never, DeadLetters>
}

export const topic = "jobs"

export const make: Effect.Effect<World> = Effect.gen(function* () {
  const relay = yield* EventRelayMemory.make()
  const destination = yield* relay.createDestination({ topic })
  const stored = InboxMemory.makeStore()
  const store = { broken: false }
  const full = new InboxError({ reason: "inbox: the store is full, as planned", retryable: true })
  /** The same, but for what it does not take. */
  const breaking = (inbox: Inbox["Service"]): Inbox["Service"] => ({
    open: (name, onError) =>
      Effect.map(inbox.open(name, onError), (box) => ({
        ...box,
        put: (bytes, items) => Effect.suspend(() => (store.broken ? Effect.fail(full) : box.put(bytes, items)))
      }))
  })

  const start: World["start"] = Effect.fnUntraced(function* (run, more = {}) {
    const { concurrency = 64, connections = 1, token, ...options } = more
    // Of nobody: only a stop ends it, since an end may take time that passes for no test that is over.
    const scope = yield* Scope.make()
    const { inbox, kill } = stored.process()
    const died = Deferred.makeUnsafe<void>()
    const alive = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() =>
        Deferred.isDoneUnsafe(died)
          ? Effect.never
          : Effect.raceFirst(Effect.exit(effect), Effect.as(Deferred.await(died), Exit.void))
      ).pipe(Effect.flatMap((exit) => (Deferred.isDoneUnsafe(died) ? Effect.never : (exit as Exit.Exit<A, E>))))
    const connection = token === undefined ? relay.connection : relay.connectionWith({ token })
    const channelOf = Effect.map(
      Scope.provide(relay.client.channel(connection), scope),
      (channel): Channel => ({
        ...channel,
        pullQueued: (...args) => alive(channel.pullQueued(...args)),
        unlock: (...args) => alive(channel.unlock(...args))
      })
    )
    const [first, ...others] = yield* Effect.forEach(Array.from({ length: connections }), () => channelOf)
    const source = yield* EventRelayDestination.make({
      pipeline: "jobs",
      channels: [first!, ...others],
      destination,
      ...options
    }).pipe(Effect.provideService(Inbox, breaking(inbox)))
    const plan = Define.define({
      name: "jobs",
      source,
      decode: source.codec!,
      concurrency,
      dispatch: [
        {
          run: ({ event }: { event: { payload: unknown } }) =>
            alive(
              Effect.map(call(run, event.payload as EventRelayEvent.Payload), (answer) =>
                answer === false ? refused("no such job") : accepted(null)
              )
            )
        }
      ]
    })
    const handle = yield* Scope.provide(Define.start(plan), scope)
    return {
      source,
      handle,
      stop: Effect.andThen(handle.drain(5_000), Scope.close(scope, Exit.void)),
      kill: Effect.andThen(kill, Effect.asVoid(Deferred.succeed(died, undefined)))
    }
  })

  return {
    relay,
    destination,
    store,
    put: (...values) =>
      relay.put(
        topic,
        values.map((value) => ({ data: { value } }))
      ),
    out: () => relay.out(destination).length,
    start
  }
})

const call = (run: Run, payload: EventRelayEvent.Payload) =>
  run((payload.data as { readonly value: unknown }).value, payload)

/** Notes what ran. */
export const noting = () => {
  const seen: Array<unknown> = []
  const run: Run = (value) => Effect.sync(() => void seen.push(value))
  return { seen, run }
}

/** What `put` was given, of an envelope. */
export const valueOf = (envelope: Envelope.Envelope) => JSON.parse(JSON.parse(Envelope.text(envelope)).data).value

/** Gives the text in an event's data, as the suite expects it. */
export const unwrapped = (source: Source): Source => ({
  ...source,
  open: Effect.map(
    source.open,
    Stream.map((delivery: Delivery): Delivery => {
      const payload = new TextEncoder().encode(valueOf(delivery.envelope))
      return { envelope: { ...delivery.envelope, payload }, settle: (settlement) => delivery.settle(settlement) }
    })
  )
})
