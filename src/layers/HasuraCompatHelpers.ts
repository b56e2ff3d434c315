/** What event modules and jobs of the Hasura event detector are written with: the payload's parts, answers, simulators. */
import * as Calls from "./EventModulesCalls.ts"

/** What Hasura sends, as far as it came. */
export interface HasuraEvent {
  readonly [field: string]: any
}

export interface HasuraData {
  readonly old?: any
  readonly new?: any
  readonly [field: string]: any
}

export interface Parsed {
  readonly hasuraEventTime: any
  readonly hasuraEventId: any
  readonly dbEvent: any
  readonly sessionVariables: any
  readonly role: any
  readonly user: any
  readonly operation: any
}

/**
 * What detectors that are asked about the same payload have asked for already: the same, mostly. One value for the
 * process, as `Calls.once` says.
 */
interface Asked {
  payload: unknown
  parts: Parsed | undefined
  /** The rows in it, and whether a column of theirs has changed. */
  rows: unknown
  column: string | undefined
  hasChanged: boolean
}

const nobodyAsked: Asked = {
  payload: undefined,
  parts: undefined,
  rows: undefined,
  column: undefined,
  hasChanged: false
}

const asked = Calls.once<Asked>("hasura-asked", () => ({ ...nobodyAsked }))

/** Until `endTurn` nobody changes this payload, or is asked again without a turn: what was found in it once holds. */
export const beginTurn = (payload: object): void => {
  asked.payload = payload
  asked.rows = (payload as HasuraEvent)["event"]?.data
}

/** Whether the parts are still what they were when they were found: nobody wrote to them. */
export const endTurn = (): boolean => {
  const { parts, payload } = asked
  Object.assign(asked, nobodyAsked)
  if (parts === undefined) return true
  let fresh: Parsed
  try {
    fresh = partsOf(payload)
  } catch {
    return false
  }
  for (const name in parts) if (!Object.is(parts[name as keyof Parsed], fresh[name as keyof Parsed])) return false
  for (const name in fresh) if (!(name in parts)) return false
  return true
}

/** The parts of a payload that modules ask for; what is not there is undefined. Never throws. */
export const parseHasuraEvent = (hasuraEvent?: any): Parsed => {
  if (hasuraEvent === undefined || hasuraEvent !== asked.payload) return partsOf(hasuraEvent)
  asked.parts ??= partsOf(hasuraEvent)
  return asked.parts
}

const partsOf = (hasuraEvent: any): Parsed => {
  const event = hasuraEvent?.event
  const variables = event?.session_variables
  let role: any
  let user: any
  if (variables !== undefined && variables !== null) {
    role = variables["x-hasura-role"]
    user = variables["x-hasura-user-email"] || (role === "admin" ? "system" : null)
  }
  return {
    hasuraEventTime: hasuraEvent?.created_at,
    hasuraEventId: hasuraEvent?.id,
    dbEvent: event?.data,
    sessionVariables: variables,
    role,
    user,
    operation: event?.op
  }
}

/**
 * Whether a column differs between the old and the new row; false where one of the rows lacks it, or is missing.
 *
 * Compared with `!==`, so that a column that holds JSON always counts as changed.
 */
export const columnHasChanged = (column: string, hasuraData: HasuraData | null | undefined): boolean => {
  if (hasuraData === undefined || hasuraData !== asked.rows) return hasChanged(column, hasuraData)
  if (column !== asked.column) {
    asked.hasChanged = hasChanged(column, hasuraData)
    asked.column = column
  }
  return asked.hasChanged
}

const hasChanged = (column: string, hasuraData: HasuraData | null | undefined): boolean => {
  if (!column || !hasuraData) return false
  const { old: before, new: after } = hasuraData
  if (before === undefined || before === null || after === undefined || after === null) return false
  return before[column] !== after[column] && Object.hasOwn(before, column) && Object.hasOwn(after, column)
}

export interface Answer {
  readonly statusCode: number
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

const headers = { "Content-Type": "application/json" }

/** The answer of a function whose events were worked. */
export const handleSuccess = (res: unknown): Answer => ({
  statusCode: 200,
  body: JSON.stringify(res, null, 2),
  headers: { ...headers }
})

/** The answer of a function that failed. An error is JSON's `{}`, as it has always been. */
export const handleFailure = (error: unknown): Answer => ({
  statusCode: 500,
  body: JSON.stringify({ errors: [error] }, null, 2),
  headers: { ...headers }
})

export const log = (prefix: string, message: unknown, ...more: ReadonlyArray<unknown>): void => {
  console.log(`[${prefix}] ${message}`, ...more)
}

/** A shallow copy that can be shown: of objects in it only their keys, of functions their names. Nothing gives `{}`. */
export const getObjectSafely = (value?: unknown): Record<string, unknown> => {
  const safe: Record<string, unknown> = {}
  if (typeof value !== "object" || value === null) return safe
  for (const key of Object.keys(value)) {
    try {
      safe[key] = shown((value as Record<string, unknown>)[key])
    } catch {
      // A getter that throws is left out.
    }
  }
  return safe
}

const shown = (value: unknown): unknown => {
  if (typeof value === "function") return `[Function] ${value.name}`
  if (typeof value !== "object" || value === null) return value
  const keys = Object.keys(value)
  return keys.length < 5 ? keys : `[Object] ${keys.length} properties`
}

export interface SimulatorOptions {
  /** Units: milliseconds. */
  readonly delay?: number
  readonly message?: string
}

const delayed = (millis: number | undefined): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** A job that takes its time and succeeds. */
export async function jobSimulator(_event: string, _hasuraEvent: unknown, options?: SimulatorOptions): Promise<string> {
  console.log(`[jobSimulator] ${options?.message} delaying ${options?.delay} ms...`)
  await delayed(options?.delay)
  console.log(`[jobSimulator] ${options?.message} complete!`)
  return `${options?.message} complete!`
}

/** A job that takes its time and fails. */
export async function failedJobSimulator(
  _event: string,
  _hasuraEvent: unknown,
  options?: SimulatorOptions
): Promise<never> {
  console.log(`[failedJobSimulator] ${options?.message} delaying ${options?.delay} ms...`)
  await delayed(options?.delay)
  throw new Error("failedJobSimulator failed!")
}
