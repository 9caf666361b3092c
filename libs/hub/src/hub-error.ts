/** The hub could not be reached, or did not give what it should, after all retries. Trying again later may help. */
export class HubError extends Error {
  override readonly name = "HubError";
}
