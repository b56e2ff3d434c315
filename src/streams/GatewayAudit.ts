/** One line of the log for each attempt to register a schema. */
import { Effect } from "effect"
import type { Registration } from "../services/GatewayAccess.ts"
import { oneLine } from "./OneLine.ts"

/** Units: characters of each part. */
const partMax = 200

/** `who` is a key, a token's subject, or nobody. */
export const log = (
  { client, event, outcome, remote, version }: Registration,
  who: string,
  pipeline: string
): Effect.Effect<void> => {
  const parts = {
    who: shown(who),
    client: shown(client),
    event: shown(event),
    outcome: shown(outcome),
    ...(version === undefined ? undefined : { version }),
    ...(remote === undefined ? undefined : { remote: shown(remote) })
  }
  const what = `${parts.client}/${parts.event}${version === undefined ? "" : ` version ${version}`}`
  const from = remote === undefined ? "" : ` from ${parts.remote}`
  return Effect.logInfo(`${pipeline}: registration of ${what}: ${parts.outcome}, by ${parts.who}${from}`).pipe(
    Effect.annotateLogs({ audit: "registration", pipeline, ...parts })
  )
}

/** What could hide in a line, turn its direction or begin another is written out. */
const shown = (text: string): string => {
  const cut = text.length > partMax ? `${text.slice(0, partMax)}...` : text
  return oneLine(cut).replaceAll(
    /[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`
  )
}
