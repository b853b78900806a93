import asyncio, os, resource, sys, time
from datetime import timedelta
from bson import ObjectId
from tests.scripts.test_delete_tenant import Command, command  # noqa
from tests.scripts.test_check_tools import run, environment

async def test_scale(twins, settings, command):
    a, b = twins.going.tenant.id, twins.staying.tenant.id
    raw = twins.raw
    N = 30000
    pats = [ObjectId() for _ in range(N)]
    for k in range(0, N, 5000):
        await raw["patients"].insert_many([{"_id": p, "tenant_ids": [a, b] if i % 10 == 0 else [a], "given_name": "X", "family_name": "Y", "name_key": "y x"} for i, p in enumerate(pats[k:k+5000])])
        await raw["patient_records"].insert_many([{"tenant_id": a, "patient_id": p, "code": f"Z{k+i}"} for i, p in enumerate(pats[k:k+5000])])
        await raw["audit_entries"].insert_many([{"tenant_id": a, "action": "x", "request_id": "x" * 200} for p in pats[k:k+5000]])
    t = time.perf_counter()
    e = await run("scripts.check_tenant_columns", env=environment(settings))
    print("columns", time.perf_counter() - t, e.code, e.out[:1500], e.errors[:300])
    sub = twins.going.tenant.subdomain
    code = "import resource,sys,runpy; sys.argv=['d',%r,'--execute','--confirm',%r,'--settle','0'];\ntry:\n runpy.run_module('scripts.delete_tenant', run_name='__main__')\nfinally:\n print('MAXRSS', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)" % (sub, sub)
    t = time.perf_counter()
    p = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=dict(command.environment), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd="/work/main")
    out, _ = await p.communicate()
    print("delete", time.perf_counter() - t, p.returncode, out.decode()[-3500:])
