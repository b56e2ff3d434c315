/** Creates a flow run of a Prefect deployment for each detection; the run is the reply. */
import { Clock, Duration, Effect, type Redacted, Result, Schema, type Scope } from "effect"
import * as Component from "../services/Component.ts"
import { DispatchError, type Dispatcher } from "../services/Dispatcher.ts"
import * as Fields from "../services/Fields.ts"
import type { Reply } from "../services/Reply.ts"
import { blameless, type Failure } from "./HttpAnswer.ts"
import * as PrefectAuth from "./PrefectAuth.ts"
import * as PrefectClient from "./PrefectClient.ts"
import * as PrefectDeployments from "./PrefectDeployments.ts"
import type * as PrefectEntra from "./PrefectEntra.ts"
import * as PrefectRequest from "./PrefectRequest.ts"
import { variable } from "./PrefectSecrets.ts"
import * as PrefectWait from "./PrefectWait.ts"

export interface Options extends PrefectRequest.Options {
  /** Of the API, such as `http://127.0.0.1:4200/api`; `PREFECT_API_URL`, then `PREFECT_API_URI` by default. */
  readonly url?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** For each call; 30 seconds by default. */
  readonly timeout?: Duration.Input | undefined
  readonly apiKey?: Redacted.Redacted<string> | undefined
  readonly authString?: Redacted.Redacted<string> | undefined
  readonly entra?: boolean | PrefectEntra.Options | undefined
  /** Follows the run to its final state, which is the reply then; otherwise the run as it was created is. */
  readonly wait?: boolean | Partial<PrefectWait.Options> | undefined
  /** Calls that may be under way at the same time, if the server bears them; 64 by default. */
  readonly connections?: number | undefined
  /** Whose runs they are, for the log. */
  readonly pipeline?: string | undefined
  /** Applied to what a reason shows of the API. */
  readonly hide?: ((text: string) => string) | undefined
}

const waitDefault: PrefectWait.Options = { every: Duration.seconds(2), within: Duration.days(1) }

/** Units: milliseconds. Looking at a run more often would ask more than it tells. */
const everyMinMillis = 100

export const make: (options: Options) => Effect.Effect<Dispatcher, Component.OptionsError, Scope.Scope> =
  Effect.fnUntraced(function* (options: Options) {
    const { connections = 64, hide = (text: string) => text, pipeline } = options
    const who = pipeline === undefined ? "" : `${pipeline}: `
    const compiled = PrefectRequest.compile(options)
    const called = yield* Effect.result(clientOf(options, connections, hide))
    const wait = waitOf(options.wait)
    const isHasty = wait !== undefined && Duration.toMillis(wait.every) < everyMinMillis
    if (Result.isFailure(compiled) || Result.isFailure(called) || isHasty) {
      const expected = `a duration from ${everyMinMillis} millis`
      const problems = [
        ...(Result.isFailure(compiled) ? compiled.failure : []),
        ...(Result.isFailure(called) ? called.failure.problems : []),
        ...(isHasty ? [{ path: ["wait", "every"], expected, found: Duration.format(wait.every) }] : [])
      ]
      return yield* new Component.OptionsError({ problems })
    }
    const request = compiled.success
    const client = called.success
    const deployments = yield* PrefectDeployments.make(client)

    const create = Effect.fnUntraced(function* (name: PrefectRequest.Name, run: PrefectRequest.Run) {
      const found = yield* deployments.find(name)
      if ("refusal" in found) return { reply: found.refusal, id: undefined }
      const body = run.body(found.id, yield* Clock.currentTimeMillis)
      const path = `/deployments/${encodeURIComponent(found.id)}/create_flow_run`
      const reply = yield* client.ask({ about: name.text, method: "POST", path, body })
      return { reply, id: found.id }
    })

    const triggered = Effect.fnUntraced(function* (
      name: PrefectRequest.Name,
      run: PrefectRequest.Run
    ): Effect.fn.Return<Reply, Failure> {
      const first = yield* create(name, run)
      if (first.id === undefined || first.reply.status !== 404) return first.reply
      // It may have been deleted and made anew since its id was looked up.
      yield* deployments.forget(name, first.id)
      return (yield* create(name, run)).reply
    })

    return {
      name: "prefect",
      probe: Effect.mapError(client.probe, (failure) => new DispatchError(failure)),
      dispatch: (detection) => {
        const name = request.name(detection)
        if (Result.isFailure(name)) return Effect.fail(name.failure)
        const run = request.run(detection)
        if (Result.isFailure(run)) return Effect.fail(run.failure)
        return triggered(name.success, run.success).pipe(
          Effect.flatMap((reply) => answered(client, wait, who, name.success.text, run.success.parameters, reply)),
          Effect.mapError((failure) => new DispatchError(failure))
        )
      }
    }
  })

const waitOf = (wait: Options["wait"]): PrefectWait.Options | undefined => {
  if (wait === undefined || wait === false) return undefined
  return wait === true ? waitDefault : { ...waitDefault, ...wait }
}

/** Says what was done, and follows it where that is asked for. */
const answered = Effect.fnUntraced(function* (
  client: PrefectClient.PrefectClient,
  wait: PrefectWait.Options | undefined,
  who: string,
  deployment: string,
  parameters: unknown,
  reply: Reply
): Effect.fn.Return<Reply, Failure> {
  if (reply.kind === "refused") return reply
  const run = reply.payload
  if (!PrefectWait.isFlowRun(run)) {
    return yield* blameless(`${deployment}: Prefect answered ${reply.status} without a flow run`)
  }
  yield* Effect.logInfo(`${who}Successfully triggered ${deployment}: ${run.name}`)
  if (parameters !== undefined) yield* Effect.logDebug(`${who}with parameters ${JSON.stringify(parameters)}`)
  const note = `triggered ${deployment}: ${run.name}`
  if (wait === undefined) return { ...reply, note }
  const followed = yield* PrefectWait.follow(client, wait, deployment, run)
  return { ...reply, ...followed, note: followed.kind === "accepted" ? `${note}, which is COMPLETED` : note }
})

const clientOf = Effect.fnUntraced(function* (options: Options, connections: number, hide: (text: string) => string) {
  const { apiKey, authString, entra, headers = {}, timeout } = options
  const url = yield* urlOf(options.url)
  const auth = yield* PrefectAuth.make({ url, headers, apiKey, authString, entra, hide })
  return yield* PrefectClient.make({
    url,
    headers: auth.headers,
    timeout,
    connections,
    hide,
    conceal: (text) => auth.conceal(hide(text)),
    tokens: auth.tokens
  })
})

const urlOf = Effect.fnUntraced(function* (given: string | undefined) {
  if (given !== undefined) return given
  const example = "a URL such as http://127.0.0.1:4200/api"
  for (const name of ["PREFECT_API_URL", "PREFECT_API_URI"]) {
    const url = yield* variable(name)
    if (url !== undefined && /^https?:$/.test(URL.parse(url)?.protocol ?? "")) return url
    if (url === undefined) continue
    // It may hold a password: it is not shown.
    const problem = { path: ["url"], expected: `${example} in ${name}`, found: "another value" }
    return yield* new Component.OptionsError({ problems: [problem] })
  }
  const expected = `${example} here, or in the environment as PREFECT_API_URL or PREFECT_API_URI`
  return yield* new Component.OptionsError({ problems: [{ path: ["url"], expected, found: undefined }] })
})

const TextOrMap = (expected: string) =>
  Schema.Union([Fields.Text, Schema.Record(Schema.String, Fields.Text)]).annotate({ expected })

export const component = Component.dispatcher({
  type: "prefect",
  summary: "A flow run of a Prefect 3 deployment for each event; the run, or with `wait` its end, is the reply.",
  options: Schema.Struct({
    /** Of the API; absent: PREFECT_API_URL, then PREFECT_API_URI. */
    url: Schema.optionalKey(Fields.Url),
    /** Flow Name/deployment-name, or a map from events to that; `*` stands for all other events. */
    deployment: TextOrMap("Flow Name/deployment-name, or a map from events to that"),
    /** A path such as payload.order, or a map from the names of parameters to paths; absent: none. */
    parameters: Schema.optionalKey(TextOrMap("a path such as payload, or a map from parameters to paths")),
    tags: Schema.optionalKey(Schema.Array(Fields.Text)),
    /** Of the flow run; absent: Prefect makes one up. */
    name: Schema.optionalKey(Fields.Text),
    /** A path, or text with placeholders; absent: the message's source and id. */
    idempotencyKey: Schema.optionalKey(Fields.Text),
    workQueue: Schema.optionalKey(Fields.Text),
    /** How long after its creation the run is scheduled. */
    delay: Schema.optionalKey(Fields.Duration),
    jobVariables: Schema.optionalKey(Schema.Record(Schema.String, Schema.Any)),
    /** Absent: PREFECT_API_KEY. */
    apiKey: Schema.optionalKey(Fields.Secret),
    /** user:password; absent: PREFECT_API_AUTH_STRING. */
    authString: Schema.optionalKey(Fields.Secret),
    /** Tokens of Microsoft Entra; what is absent comes from PREFECT_API_TENANT_ID and so on. */
    entra: Schema.optionalKey(
      Schema.Union([
        Fields.Boolean,
        Schema.Struct({
          tenantId: Schema.optionalKey(Fields.Text),
          clientId: Schema.optionalKey(Fields.Text),
          clientSecret: Schema.optionalKey(Fields.Secret),
          scope: Schema.optionalKey(Fields.Text)
        })
      ])
    ),
    headers: Schema.optionalKey(Fields.Headers),
    /** For each call. */
    timeout: Fields.orElse(Fields.Duration, Duration.seconds(30)),
    /** Follows the run to its final state, looking at it `every` 2 seconds, `within` a day. */
    wait: Schema.optionalKey(
      Schema.Union([
        Fields.Boolean,
        Schema.Struct({
          every: Fields.orElse(Fields.Duration, waitDefault.every),
          within: Fields.orElse(Fields.Duration, waitDefault.within)
        })
      ])
    )
  }),
  make: (options, { concurrency, hide, pipeline }) => make({ ...options, connections: concurrency, hide, pipeline })
})
