import { unimplemented } from "@mistral-sae/rpc";

const later = (name: string) => (): never => {
  throw unimplemented(`${name} is not offered yet`);
};

/** Calls of the contract that nothing answers yet. */
export const laterHandlers = {
  importActivations: later("ImportActivations"),
  listActivationSets: later("ListActivationSets"),
  deleteActivationSet: later("DeleteActivationSet"),
};
