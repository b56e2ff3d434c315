/** Takes events over HTTP: checks each by its registered schema, and answers when the stream has confirmed it. */
import { Duration, Effect, Schema, type Scope } from "effect"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import type { Access } from "../services/GatewayAccess.ts"
import * as GatewayAccess from "../services/GatewayAccess.ts"
import { HttpHost, type HttpHostError, type HttpResponse, type Route } from "../services/HttpHost.ts"
import { andThen, isLater } from "../services/Ready.ts"
import type { SchemaLanguages } from "../services/SchemaLanguage.ts"
import type { SchemaRegistry } from "../services/SchemaRegistry.ts"
import type { Source } from "../services/Source.ts"
import * as AnswerCount from "./AnswerCount.ts"
import * as Gateway from "./Gateway.ts"
import * as Answers from "./GatewayAnswers.ts"
import * as GatewayApi from "./GatewayApi.ts"
import * as GatewayFlask from "./GatewayFlask.ts"
import { type Door, guarded } from "./GatewayGuard.ts"
import * as GatewayOpenApi from "./GatewayOpenApi.ts"
import * as GatewaySend from "./GatewaySend.ts"
import * as HttpIntake from "./HttpIntake.ts"

export interface Options {
  /** Before all of its paths, such as `/gateway`; nothing by default. */
  readonly prefix?: string | undefined
  /** How long a request waits for its event to be confirmed; 30 seconds by default. */
  readonly answerWithin?: Duration.Input | undefined
  /** Units: bytes; 1 MiB by default. */
  readonly bodyMax?: number | undefined
  /** Units: events in one batch; 500 by default. */
  readonly batchMax?: number | undefined
  /** The name in its metrics; `gateway` by default. */
  readonly pipeline?: string | undefined
  /** Who may use it; everybody by default. */
  readonly access?: Access | undefined
}

const open: Access = { known: () => undefined, check: () => undefined, audit: () => Effect.void }

/** Units: bytes. What the requests at work may hold, each with as much for itself as it takes without a body. */
const heldBytesMax = 32 * 1024 * 1024
const bodyMost = heldBytesMax / 2
const requestBytes = 4096

export const make: (
  options: Options
) => Effect.Effect<Source, HttpHostError, HttpHost | SchemaLanguages | SchemaRegistry | Scope.Scope> =
  Effect.fnUntraced(function* ({
    access = open,
    answerWithin = "30 seconds",
    batchMax = 500,
    bodyMax = 1024 * 1024,
    pipeline = "gateway",
    prefix = ""
  }) {
    const host = yield* HttpHost
    const gateway = yield* Gateway.make
    const within = Duration.fromInputUnsafe(answerWithin)
    const intake = yield* HttpIntake.make({ name: `gateway:${prefix || "/"}`, answerWithin: within })
    const send = yield* GatewaySend.make(gateway, intake)
    const api = `${prefix}/api/v1`
    const operations = GatewayApi.operations(gateway, send, { batchMax })
    const counters = yield* AnswerCount.make("gateway", pipeline)
    const bounded = bound()
    const routes: ReadonlyArray<Route> = [
      ...GatewayFlask.operations(gateway, send).map((one) => ({
        method: one.method,
        path: `${prefix}${one.path}`,
        ...bounded(guarded(access, one, GatewayFlask.denied), one.full, counters(one.path.split("/").at(-1)!))
      })),
      ...operations.map((one) => ({
        method: one.method,
        path: `${api}${one.path.replaceAll(/\{(\w+)\}/g, ":$1")}`,
        ...bounded(guarded(access, one, Answers.denied), full, counters(one.id))
      })),
      ...documents(api, operations)
    ]
    for (const route of routes) yield* host.route({ ...route, bodyMax })
    const source: Source = {
      ...intake.source,
      codec: send.codec,
      repeats: GatewaySend.hasOwnId,
      tellsBurials: true
    }
    return source
  })

export const component = Component.source({
  type: "gateway",
  summary:
    "An event gateway on the HTTP server: clients register schemas and send events, each answered once it is published.",
  options: Schema.Struct({
    /** Before all of its paths. */
    prefix: Schema.optionalKey(
      Schema.String.check(Schema.isPattern(/^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._-]+)*$/)).annotate({
        expected: "a path such as /gateway, without / at its end"
      })
    ),
    /** How long a request waits for its event to be published; the work goes on after that. */
    answerWithin: Fields.orElse(Fields.Wait, Duration.seconds(30)),
    bodyMax: Fields.orElse(
      Fields.Bytes.check(Schema.isLessThanOrEqualTo(bodyMost).annotate({ expected: "at most 16 MiB" })),
      1024 * 1024
    ),
    /** Units: events in one batch. */
    batchMax: Fields.orElse(Fields.int(1, 1000), 500),
    ...GatewayAccess.fields
  }),
  make: ({ access, rate, ...options }, { folder, hide, pipeline }) =>
    Effect.gen(function* () {
      const { address } = yield* HttpHost
      const wanted = { ...(access && { access }), ...(rate && { rate }) }
      const where = { folder, hide, pipeline, host: address?.host }
      const { make: accessOf } = yield* GatewayAccess.GatewayAccess
      // Without a server the routes say so.
      const guard = address === undefined ? undefined : yield* accessOf(wanted, where)
      return yield* Effect.mapError(make({ ...options, pipeline, access: guard }), ({ reason }) => {
        const expected = `paths that can be taken (${reason})`
        return new Component.OptionsError({ problems: [{ path: ["prefix"], expected, found: options.prefix ?? "" }] })
      })
    })
})

/**
 * Keeps what is at work within bounds, also while the registry is slow: nothing has gone to the pipeline then. Counts all
 * answers.
 */
const bound = () => {
  let held = 0
  return ({ admit, handle }: Door, full: HttpResponse, { answered, ended }: AnswerCount.Counter): Door => ({
    admit: (head) =>
      andThen(admit(head), (refusal) => {
        if (refusal !== undefined) answered(refusal)
        return refusal
      }),
    handle: (request) => {
      const bytes = request.body.length + requestBytes
      const answer = held + bytes > heldBytesMax ? full : handle(request)
      if (!isLater(answer)) {
        answered(answer)
        return answer
      }
      return Effect.suspend(() => {
        held += bytes
        return Effect.onExit(answer, (exit) =>
          Effect.sync(() => {
            held -= bytes
            ended(exit)
          })
        )
      })
    }
  })
}

const full = Answers.response(Answers.problem("busy", "the gateway takes no more just now"))

const documents = (api: string, operations: ReadonlyArray<GatewayApi.Operation>): ReadonlyArray<Route> => {
  const document = JSON.stringify(GatewayOpenApi.document(api, operations))
  const page = GatewayOpenApi.page(api, operations)
  return [
    { method: "GET", path: `${api}/openapi.json`, handle: () => Answers.json(200, document) },
    {
      method: "GET",
      path: `${api}/docs`,
      handle: () => ({
        status: 200,
        headers: {
          "content-type": "text/html; charset=utf-8",
          "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"
        },
        body: page
      })
    }
  ]
}
