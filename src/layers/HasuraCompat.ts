/** The entry `sluice/hasura`: event modules and jobs of the Hasura event detector run with it as they stand. */
import {
  columnHasChanged,
  failedJobSimulator,
  getObjectSafely,
  handleFailure,
  handleSuccess,
  jobSimulator,
  log,
  parseHasuraEvent
} from "./HasuraCompatHelpers.ts"
import { listenTo } from "./HasuraCompatListen.ts"
import { job, run } from "./HasuraCompatRun.ts"

export type { Answer, HasuraData, HasuraEvent, Parsed, SimulatorOptions } from "./HasuraCompatHelpers.ts"
export type { ListenOptions, Response } from "./HasuraCompatListen.ts"
export type { Job, JobFunction, JobResult } from "./HasuraCompatRun.ts"
export {
  columnHasChanged,
  failedJobSimulator,
  getObjectSafely,
  handleFailure,
  handleSuccess,
  job,
  jobSimulator,
  listenTo,
  log,
  parseHasuraEvent,
  run
}

export default {
  columnHasChanged,
  failedJobSimulator,
  getObjectSafely,
  handleFailure,
  handleSuccess,
  job,
  jobSimulator,
  listenTo,
  log,
  parseHasuraEvent,
  run
}
