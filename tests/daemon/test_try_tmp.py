from tests.daemon.rig import carried
def test_x(lived_rig):
    print(lived_rig.done, lived_rig.carried(), lived_rig.waiting(delayed=True))
    print(lived_rig.rows("select kind, artifact_id, detail from reg_event"))
