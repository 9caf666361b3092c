import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { writeKubernetesSchemas } from "../src/kubernetes-schemas.ts";

const root = join(import.meta.dirname, "..", "..", "..");
const services = ["inference", "training", "feature-index", "explanation", "steering", "gateway"];
const overlays = ["cpu-dev", "gpu", "gpu-cluster"];
const KUBERNETES = "k8s.io/kubernetes@v1.37.2";

const runs = (command: string, args: readonly string[]): boolean => spawnSync(command, args, { stdio: "ignore" }).status === 0;
const kubectl = runs("kubectl", ["version", "--client"]);
const kubeconform = runs("kubeconform", ["-v"]) && runs("go", ["version"]);
if (!kubectl) console.log("skipped: kubectl is not installed, manifests are not rendered");
if (kubectl && !kubeconform) console.log("skipped: kubeconform or go is not installed, manifests are not checked against schemas");

interface Container {
  readonly name: string;
  readonly image: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly startupProbe?: object;
  readonly readinessProbe?: object;
  readonly livenessProbe?: object;
  readonly securityContext?: { readonly readOnlyRootFilesystem?: boolean; readonly allowPrivilegeEscalation?: boolean };
  readonly resources?: { readonly limits?: Readonly<Record<string, string>> };
}
interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly replicas?: number;
    readonly serviceName?: string;
    readonly ordinals?: { readonly start: number };
    readonly template?: {
      readonly spec: {
        readonly containers: readonly Container[];
        readonly securityContext?: { readonly runAsNonRoot?: boolean };
        readonly nodeSelector?: object;
        readonly tolerations?: readonly object[];
      };
    };
  };
}

function render(overlay: string): readonly Manifest[] {
  const { status, stdout, stderr } = spawnSync("kubectl", ["kustomize", join(root, "deploy", "overlays", overlay)], { encoding: "utf8", maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(stderr);
  return parseAllDocuments(stdout).map((document) => document.toJS() as Manifest);
}

it("has a Dockerfile for every service, each running that service as a plain user", async () => {
  const files = await readdir(join(root, "deploy", "images"));
  const images = [...services, "inference-cuda", "training-cuda"];
  expect(files.toSorted()).toEqual(images.map((image) => `${image}.Dockerfile`).toSorted());
  for (const image of images) {
    const text = await readFile(join(root, "deploy", "images", `${image}.Dockerfile`), "utf8");
    expect(text).toContain(`CMD ["node", "services/${image.replace("-cuda", "")}/src/main.ts"]`);
    expect(text).toContain("USER 65532:65532");
  }
});

describe.skipIf(!kubectl).each(overlays)("the %s overlay", (overlay) => {
  const workloads = () => render(overlay).filter(({ spec }) => spec?.template !== undefined);

  it("runs every service and ClickHouse in the project's namespace", () => {
    const found = workloads().map(({ metadata }) => metadata);
    const cluster = overlay === "gpu-cluster" ? ["clickhouse-shard-2", "clickhouse-keeper"] : [];
    expect(found.map(({ name }) => name).toSorted()).toEqual([...services, "clickhouse", ...cluster].toSorted());
    expect(new Set(found.map(({ namespace }) => namespace))).toEqual(new Set(["mistral-sae"]));
  });

  it("gives every container probes, limits, a pinned image and no rights", () => {
    for (const { spec } of workloads()) {
      expect(spec?.template?.spec.securityContext?.runAsNonRoot).toBe(true);
      for (const container of spec?.template?.spec.containers ?? []) {
        expect(container, container.name).toMatchObject({
          startupProbe: expect.any(Object),
          readinessProbe: expect.any(Object),
          livenessProbe: expect.any(Object),
          securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false },
          resources: { limits: { memory: expect.any(String) } },
        });
        expect(container.image).toMatch(/:[\w.-]+$/);
      }
    }
  });
});

it.skipIf(!kubectl)("puts inference and training, and nothing else, on the GPU node pool", () => {
  const onGpu = render("gpu").filter(({ spec }) => spec?.template?.spec.containers[0]?.resources?.limits?.["nvidia.com/gpu"] === "1");
  expect(onGpu.map(({ metadata }) => metadata.name).toSorted()).toEqual(["inference", "training"]);
  for (const { spec } of onGpu) {
    expect(spec?.template?.spec.nodeSelector).toEqual({ "nvidia.com/gpu.present": "true" });
    expect(spec?.template?.spec.tolerations).toHaveLength(1);
  }
});

it.skipIf(!kubectl).each(["inference", "training"])("runs %s there on CUDA, with the image that carries it", (service) => {
  const [container] = render("gpu").find(({ kind, metadata }) => kind === "StatefulSet" && metadata.name === service)?.spec?.template?.spec.containers ?? [];
  expect(container?.image).toBe(`mistral-sae/${service}-cuda:0.1.0`);
  expect(container?.env).toContainEqual({ name: `MISTRAL_SAE_${service.toUpperCase()}_PROVIDER`, value: "cuda" });
});

it.skipIf(!kubectl)("makes a cluster of the servers that its configuration names, which the feature index is told", () => {
  const manifests = render("gpu-cluster");
  const sets = manifests.filter(({ kind, metadata }) => kind === "StatefulSet" && metadata.name.startsWith("clickhouse"));
  const pods = sets.flatMap(({ metadata, spec }) => Array.from({ length: spec?.replicas ?? 1 }, (_, i) => `${metadata.name}-${(spec?.ordinals?.start ?? 0) + i}.${spec?.serviceName}`));
  const config = manifests.filter(({ kind }) => kind === "ConfigMap").flatMap(({ data }) => Object.values(data ?? {})).join("\n");
  const named = [...config.matchAll(/<host(?:name)?>([^<]+)<\/host(?:name)?>/g)].map(([, host = ""]) => host);
  expect([...new Set(named)].toSorted()).toEqual(pods.toSorted());
  expect(pods).toHaveLength(2 * 2 + 3);
  const [index] = manifests.find(({ kind, metadata }) => kind === "StatefulSet" && metadata.name === "feature-index")?.spec?.template?.spec.containers ?? [];
  const cluster = index?.env?.find(({ name }) => name === "MISTRAL_SAE_FEATURE_INDEX_CLICKHOUSE_CLUSTER")?.value;
  expect(config).toContain(`<remote_servers replace="1">\n    <${cluster}>`);
  expect(config).toContain("<distributed_product_mode>global</distributed_product_mode>");
});

describe.skipIf(!kubectl || !kubeconform)("against the schemas of a Kubernetes release", () => {
  let folder = "";
  let written = 0;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "k8s-schemas-"));
    const { status, stdout, stderr } = spawnSync("go", ["mod", "download", "-json", KUBERNETES], { cwd: folder, encoding: "utf8" });
    if (status !== 0) throw new Error(`${KUBERNETES} could not be downloaded: ${stderr}${stdout}`);
    const { Dir } = JSON.parse(stdout) as { readonly Dir: string };
    written = await writeKubernetesSchemas(join(Dir, "api", "openapi-spec", "swagger.json"), folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const check = (manifests: string) =>
    spawnSync("kubeconform", ["-strict", "-summary", "-schema-location", `${folder}/{{.ResourceKind}}{{.KindSuffix}}.json`, "-"], {
      input: manifests,
      encoding: "utf8",
    });

  it.each(overlays)("the %s overlay is valid", (overlay) => {
    const { stdout: manifests } = spawnSync("kubectl", ["kustomize", join(root, "deploy", "overlays", overlay)], { encoding: "utf8", maxBuffer: 1 << 26 });
    const { stdout, stderr, status } = check(manifests);
    expect(status, stdout + stderr).toBe(0);
    expect(stdout).toMatch(/Invalid: 0, Errors: 0, Skipped: 0/);
  });

  it("there is a schema for every kind of the release", () => expect(written).toBeGreaterThan(150));

  it("a misspelt probe is caught", () => {
    const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - {name: c, image: i, readinessProb: {}}\n";
    expect(check(pod).status).not.toBe(0);
  });
});
