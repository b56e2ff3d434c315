/** Who this process is to Azure: environment, workload or managed identity, or a developer's tool, by DefaultAzureCredential. */
import type { TokenCredential } from "@azure/identity"

let known: Promise<TokenCredential> | undefined

const load = async (): Promise<TokenCredential> => {
  const { DefaultAzureCredential } = await import("@azure/identity")
  return new DefaultAzureCredential()
}

/** One for the process: its tokens are shared. One that failed is made anew, since it keeps what it found missing. */
export const shared: TokenCredential = {
  getToken: async (scopes, options) => {
    known ??= load()
    const asked = known
    try {
      return await (await asked).getToken(scopes, options)
    } catch (error) {
      if (known === asked) known = undefined
      throw error
    }
  }
}
