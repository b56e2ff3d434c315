/** Takes HTTP requests as messages and answers each when its delivery has ended. */
import { type Array as Arr, Cause, Clock, Duration, Effect, Latch, Schema, type Scope, Stream } from "effect"
import * as Component from "../services/Component.ts"
import type { Delivery, Settlement } from "../services/Delivery.ts"
import type { Envelope } from "../services/Envelope.ts"
import * as Fields from "../services/Fields.ts"
import { HttpHost, type HttpHostError, type HttpRequest, type HttpResponse } from "../services/HttpHost.ts"
import type { Ready } from "../services/Ready.ts"
import type { Source } from "../services/Source.ts"

export interface Options {
  /** Such as `/hooks/orders`. */
  readonly path: string
  /** POST by default. */
  readonly method?: string | undefined
  /** How long a request waits for its delivery to end; 30 seconds by default. */
  readonly answerWithin?: Duration.Input | undefined
  /** Units: bytes. Absent takes the host's. */
  readonly bodyMax?: number | undefined
}

/** Units: requests that may wait for a pipeline that takes none. */
const waitingMax = 64
/** Units: requests; milliseconds. A burst may wait for as long as a pipeline needs to take it all. */
const burstMax = 1024
const burstMillis = 50
/** Units: bytes of all that waits. */
const waitingBytesMax = 64 * 1024 * 1024
/** Units: requests; bytes. What one array holds. */
const arrayMax = 256
const arrayBytesMax = 1024 * 1024
/** Credentials of the sender: they must not land in dead letters. */
const secretHeaders: ReadonlySet<string> = new Set(["authorization", "cookie", "proxy-authorization"])

/** The path is taken for as long as the scope is open; between two openings of the source it answers 503. */
export const make: (options: Options) => Effect.Effect<Source, HttpHostError, HttpHost | Scope.Scope> =
  Effect.fnUntraced(function* ({ answerWithin = "30 seconds", bodyMax, method = "POST", path }: Options) {
    const host = yield* HttpHost
    const name = `http:${path}`
    const answerMillis = Duration.toMillis(Duration.fromInputUnsafe(answerWithin))
    let intake: Intake | undefined
    yield* host.route({
      method,
      path,
      bodyMax,
      handle: (request) => intake?.ask(request) ?? unavailable("the pipeline is not running just now")
    })
    const source: Source = {
      name,
      redelivers: true,
      answers: true,
      open: Effect.gen(function* () {
        const opened = new Intake(name, answerMillis, yield* Clock.Clock)
        // What was handed out is answered until the pipeline's scope closes, long after its intake has stopped.
        yield* Effect.addFinalizer(() => Effect.sync(() => opened.answerAll()))
        yield* Effect.forkScoped(opened.expire)
        yield* Effect.forkScoped(opened.trim)
        return Stream.fromPull(Effect.succeed(opened.pull)).pipe(
          Stream.onStart(
            Effect.sync(() => {
              intake = opened
            })
          ),
          Stream.ensuring(
            Effect.sync(() => {
              if (intake === opened) intake = undefined
              opened.close()
            })
          )
        )
      })
    }
    return source
  })

export const component = Component.source({
  type: "http",
  summary:
    "Requests on a path of the HTTP server; each is answered 202 once its message is done, 400 when it cannot be read, 503 when it is to be sent again.",
  options: Schema.Struct({
    path: Fields.Text,
    method: Fields.orElse(Schema.Literals(["POST", "PUT", "PATCH", "DELETE", "GET"]), "POST"),
    /** How long a request waits for its message to be done; the work goes on after that. */
    answerWithin: Fields.orElse(Fields.Duration, Duration.seconds(30)),
    bodyMax: Schema.optionalKey(Fields.Bytes)
  }),
  make: (options) =>
    Effect.mapError(make(options), ({ reason }) => {
      const expected = `a path that can be taken (${reason})`
      return new Component.OptionsError({ problems: [{ path: ["path"], expected, found: options.path }] })
    })
})

type Taken = Arr.NonEmptyReadonlyArray<Delivery>

/** The requests of one opening of the source: those that wait to be taken, and those that wait for their answer. */
class Intake {
  private readonly waiting: Array<Asked> = []
  /** In the order of arrival, so the first is the next whose time is up. */
  private readonly unanswered = new Set<Asked>()
  private readonly some = Latch.makeUnsafe(false)
  private readonly busy = Latch.makeUnsafe(false)
  private readonly over = Latch.makeUnsafe(false)
  private waitingBytes = 0
  private closed = false
  private readonly source: string
  private readonly answerMillis: number
  private readonly clock: Clock.Clock

  constructor(source: string, answerMillis: number, clock: Clock.Clock) {
    this.source = source
    this.answerMillis = answerMillis
    this.clock = clock
  }

  ask(request: HttpRequest): Ready<HttpResponse> {
    if (this.closed) return unavailable("the pipeline is stopping")
    const bytes = this.waitingBytes + request.body.length
    if (this.waiting.length >= burstMax || (this.waiting.length > 0 && bytes > waitingBytesMax)) return full
    return Effect.callback<HttpResponse>((resume) => {
      const envelope = envelopeOf(request, this.source, this.clock.currentTimeMillisUnsafe())
      const asked = new Asked(envelope, this.unanswered, (response) => resume(Effect.succeed(response)))
      this.waiting.push(asked)
      this.waitingBytes += request.body.length
      this.some.openUnsafe()
      this.busy.openUnsafe()
      if (this.waiting.length > waitingMax) this.over.openUnsafe()
      return Effect.sync(() => {
        this.drop(asked)
        asked.forget()
      })
    })
  }

  /** Everything that waits, up to the size of an array. */
  readonly pull: Effect.Effect<Taken, Cause.Done> = Effect.suspend((): Effect.Effect<Taken, Cause.Done> => {
    if (this.closed) return Cause.done()
    if (this.waiting.length > 0) return Effect.succeed(this.take())
    this.some.closeUnsafe()
    // Requests that came with the one that woke us are there after a turn of the event loop, and go in the same array.
    return Effect.flatMap(Effect.andThen(this.some.await, Effect.yieldNow), () => this.pull)
  })

  private take(): Taken {
    let count = 1
    for (let bytes = sizeOf(this.waiting[0]!); count < Math.min(this.waiting.length, arrayMax); count++) {
      bytes += sizeOf(this.waiting[count]!)
      if (bytes > arrayBytesMax) break
    }
    return this.remove(0, count) as [Asked, ...Array<Asked>]
  }

  private remove(from: number, count: number): Array<Asked> {
    const removed = this.waiting.splice(from, count)
    for (const asked of removed) this.waitingBytes -= sizeOf(asked)
    return removed
  }

  /** A pipeline that has not taken a burst after a while is full: who came late to it is told to come again. */
  readonly trim: Effect.Effect<never> = Effect.suspend(() => this.over.await).pipe(
    Effect.andThen(Effect.sleep(burstMillis)),
    Effect.andThen(
      Effect.sync(() => {
        const due = this.clock.currentTimeMillisUnsafe() - burstMillis
        const late = this.waiting.findIndex(({ envelope }, i) => i >= waitingMax && envelope.receivedAt > due)
        const refused = (late < 0 ? this.waiting.length : late) - waitingMax
        for (const asked of this.remove(waitingMax, Math.max(refused, 0))) asked.answer(full)
        if (this.waiting.length <= waitingMax) this.over.closeUnsafe()
      })
    ),
    Effect.forever
  )

  /** Answers those whose time is up, one sleep for all of them: they have waited in the order of arrival. */
  readonly expire: Effect.Effect<never> = Effect.suspend(() => {
    const now = this.clock.currentTimeMillisUnsafe()
    for (const asked of this.unanswered) {
      const left = asked.envelope.receivedAt + this.answerMillis - now
      if (left > 0) return Effect.andThen(Effect.sleep(left), this.expire)
      this.drop(asked)
      asked.answer(unavailable(`not done within ${Duration.format(Duration.millis(this.answerMillis))}`))
    }
    this.busy.closeUnsafe()
    return Effect.andThen(this.busy.await, this.expire)
  })

  /** Stops intake: whoever still waits to be taken is told to come again. */
  close(): void {
    this.closed = true
    for (const asked of this.remove(0, burstMax)) asked.answer(unavailable("the pipeline is stopping"))
    this.some.openUnsafe()
  }

  answerAll(): void {
    this.close()
    for (const asked of this.unanswered) asked.answer(unavailable("the pipeline has stopped"))
  }

  /** Its client has gone or was told to come again: what nobody has taken yet need not be done. */
  private drop(asked: Asked): void {
    const at = this.waiting.indexOf(asked)
    if (at >= 0) this.remove(at, 1)
  }
}

class Asked implements Delivery {
  readonly envelope: Envelope
  private readonly unanswered: Set<Asked>
  private respond: ((response: HttpResponse) => void) | undefined

  constructor(envelope: Envelope, unanswered: Set<Asked>, respond: (response: HttpResponse) => void) {
    this.envelope = envelope
    this.unanswered = unanswered
    this.respond = respond
    unanswered.add(this)
  }

  settle(settlement: Settlement): void {
    this.answer(answerOf(settlement, this.envelope.id))
  }

  /** The first answer counts: a settlement that comes too late has nobody to tell. */
  answer(response: HttpResponse): void {
    const { respond } = this
    this.forget()
    respond?.(response)
  }

  forget(): void {
    this.respond = undefined
    this.unanswered.delete(this)
  }
}

const json = { "content-type": "application/json" }

const unavailable = (error: string): HttpResponse => ({
  status: 503,
  headers: { ...json, "retry-after": "1" },
  body: JSON.stringify({ error })
})

const full = unavailable("the pipeline takes no more just now")

const answerOf = (settlement: Settlement, id: string): HttpResponse => {
  switch (settlement._tag) {
    case "Acked":
    case "Buried":
      return { status: 202, headers: json, body: JSON.stringify({ id }) }
    case "Refused":
      return { status: 400, headers: json, body: JSON.stringify({ error: settlement.reason }) }
    case "Nacked":
      // The reason may name what stands behind this pipeline, which is no business of the sender.
      return unavailable("the message could not be done just now")
  }
}

const sizeOf = ({ envelope }: Asked): number => envelope.payload.length

const envelopeOf = ({ body, headers }: HttpRequest, source: string, receivedAt: number): Envelope => ({
  id: idOf(headers),
  source,
  key: undefined,
  headers: withoutSecrets(headers),
  payload: body,
  receivedAt,
  attempt: 1
})

const withoutSecrets = (headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> => {
  const kept: Record<string, string> = {}
  for (const name of Object.keys(headers)) if (!secretHeaders.has(name)) kept[name] = headers[name]!
  return kept
}

/** The sender's own id, which stays the same when it sends again. */
const idOf = (headers: Readonly<Record<string, string>>): string => {
  const id = headers["ce-id"]
  const source = headers["ce-source"]
  if (id !== undefined && id !== "") return source === undefined || source === "" ? id : `${source}/${id}`
  return headers["idempotency-key"] || crypto.randomUUID()
}
