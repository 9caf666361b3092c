import { openFeatureIndex, featureIndexDefaults } from "../../../../services/feature-index/src/index.ts";
import { ClickHouse } from "@mistral-sae/clickhouse";
import { fillMadeUp, madeUpDefaults, madeUp, madeUpWord } from "./meaning-data.ts";
import { createClient, startServer } from "@mistral-sae/rpc";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { existsSync } from "node:fs";
const data = "/tmp/meaning-data"; const fresh = !existsSync(data);
const svc = await openFeatureIndex({...featureIndexDefaults, data, inference:"127.0.0.1:1", threads:2});
if (fresh) { const ch = new ClickHouse({url: svc.server.url, login: svc.server.owner}); const t=performance.now(); await fillMadeUp(ch, data+"/catalogue.sqlite", madeUpDefaults); console.log("filled", performance.now()-t); await ch.close(); }
const server = await startServer({listen:"127.0.0.1:0", services: svc.services, reflection:false});
const c = createClient(FeatureIndexService, server.address);
for (let r=0;r<8;r++){ const t=performance.now(); const x = await c.searchExplanations({parent: madeUp.sae, query: [1000+r*77,3000+r*5].map(madeUpWord).join(" ")}); console.log(x.hits.length, (performance.now()-t).toFixed(1)); }
const ch = new ClickHouse({url: svc.server.url, login: svc.server.owner});
console.log(await ch.rows("select table, formatReadableSize(sum(bytes_on_disk)) b from system.parts where active and database='mistral_sae' group by table"));
for (const q of ["SELECT feature_index FROM mistral_sae.features WHERE index_id=1 AND hasAny(top_token_ids,[1000,2000])","SELECT feature_index FROM mistral_sae.features WHERE index_id=1 AND hasAny(pos_token_ids,[1000,2000])","SELECT feature_index, description FROM mistral_sae.explanations FINAL WHERE sae_id=1 AND multiSearchAnyCaseInsensitiveUTF8(description,['gafou'])"]) { const ts=[]; for(let i=0;i<5;i++){const t=performance.now(); await ch.rows(q); ts.push((performance.now()-t).toFixed(0));} console.log(q.slice(0,90), ts.join(" ")); }
await ch.close(); await server.close(100); await svc.close(); process.exit(0);
