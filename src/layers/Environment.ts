/** The environment variables of the process, so that a test can bring its own. */
import { Context } from "effect"

export class Environment extends Context.Service<Environment, Readonly<Record<string, string | undefined>>>()(
  "sluice/layers/Environment"
) {}
