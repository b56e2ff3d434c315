/** Sets up and reads back what is on a Prefect server, by its REST API; it tries again what a busy server refuses. */
import { setTimeout as sleep } from "node:timers/promises"

export interface FlowRun {
  readonly id: string
  readonly name: string
  readonly deployment_id: string
  readonly parameters: Readonly<Record<string, unknown>>
  readonly idempotency_key: string
  readonly tags: ReadonlyArray<string>
  readonly state_type: string
  readonly work_queue_name: string | null
  readonly job_variables: Readonly<Record<string, unknown>>
  readonly expected_start_time: string
  readonly created: string
}

export interface Deployment {
  readonly id: string
  /** Flow and deployment. */
  readonly name: string
}

const triesMax = 40

export const make = (url: string, headers: Readonly<Record<string, string>> = {}) => {
  const call = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    for (let tries = 1; ; tries++) {
      const answer = await fetch(`${url}${path}`, {
        method,
        headers: { "content-type": "application/json", connection: "close", ...headers },
        ...(body === undefined ? undefined : { body: JSON.stringify(body) })
      }).catch((error: Error) => error)
      if (answer instanceof Response && answer.ok) {
        const text = await answer.text()
        return text === "" ? undefined : JSON.parse(text)
      }
      const why = answer instanceof Response ? `${answer.status} ${await answer.text()}` : answer.message
      const passes = !(answer instanceof Response) || answer.status === 503 || answer.status === 500
      if (!passes || tries === triesMax) throw new Error(`${method} ${path}: ${why}`)
      await sleep(25)
    }
  }
  /** A flow with one deployment. */
  const deployment = async (flow: string, name: string, more: object = {}): Promise<Deployment> => {
    const { id: flow_id } = (await call("POST", "/flows/", { name: flow })) as { id: string }
    const { id } = (await call("POST", "/deployments/", { name, flow_id, ...more })) as { id: string }
    return { id, name: `${flow}/${name}` }
  }
  return {
    call,
    deployment,
    /** One that wants the parameter `n`, a whole number. */
    typed: (flow: string, name: string): Promise<Deployment> =>
      deployment(flow, name, {
        enforce_parameter_schema: true,
        parameter_openapi_schema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] }
      }),
    workPool: (name: string): Promise<unknown> => call("POST", "/work_pools/", { name, type: "process" }),
    remove: (deployment: Deployment): Promise<unknown> => call("DELETE", `/deployments/${deployment.id}`),
    run: async (id: string): Promise<FlowRun> => (await call("GET", `/flow_runs/${id}`)) as FlowRun,
    runs: async ({ id }: Deployment): Promise<ReadonlyArray<FlowRun>> =>
      (await call("POST", "/flow_runs/filter", { flow_runs: { deployment_id: { any_: [id] } } })) as Array<FlowRun>,
    setState: (run: { readonly id: string }, type: string, message?: string): Promise<unknown> =>
      call("POST", `/flow_runs/${run.id}/set_state`, { state: { type, message }, force: true })
  }
}
