"""Messages of scontrol about jobs that it was to change, as Slurm 22.05 to 26.05 print them."""

from operators.slurm.jobs.job_changes import parse_reports
from operators.slurm.parsing import JobId

SAID = """\
scontrol: some notice
Invalid job id specified for job 999
Access/permission denied for job 4243_3,7-8
Job is pending execution for job 4300+1
4243_1-3,5: Job has already finished
4243_4: No error
4244_9: Access/permission denied (job_submit: the partition is closed)
4245_0-2,4-6,100-...: Job is no longer pending execution
"""


def test_reports_are_read_with_their_jobs_and_tasks() -> None:
    reports = parse_reports(SAID)
    assert [(str(each.part), each.message) for each in reports[:3]] == [
        ("None", "Invalid job id specified"),
        ("None", "Access/permission denied"),
        ("None", "Job is pending execution"),
    ]
    assert [each.job for each in reports[2:4]] == [
        JobId(4300, component=1),
        JobId(4243, tasks="1-3,5"),
    ]
    assert [each.is_success for each in reports] == [False] * 4 + [True, False, False]
    assert reports[5].message.endswith("(job_submit: the partition is closed)")
    assert reports[6].job == JobId(4245, tasks="0-2,4-6,100")


def test_report_concerns_jobs_that_share_a_task() -> None:
    ended, changed = parse_reports(SAID)[3:5]
    cases = {"4243": True, "4243_5": True, "4243_[5-9]": True, "4243_4": False, "4244_5": False}
    assert {id: ended.concerns(JobId.parse(id)) for id in cases} == cases
    assert changed.concerns(JobId.parse("4243_4"))
    component = parse_reports(SAID)[2]
    cases = {"4300": True, "4300+1": True, "4300+0": False, "4301": False}
    assert {id: component.concerns(JobId.parse(id)) for id in cases} == cases


def test_task_that_does_not_exist_is_not_the_fault_of_its_array() -> None:
    [unknown] = parse_reports("4243_5-9: Invalid job id specified\n")
    cases = {"4243": False, "4243_9": True, "4243_[1-9]": True, "4243_1": False}
    assert {id: unknown.concerns(JobId.parse(id)) for id in cases} == cases


def test_message_names_the_part_that_it_is_about() -> None:
    ended = parse_reports(SAID)[3]
    assert ended.about(JobId.parse("4243")) == "4243_1-3,5: Job has already finished"
    assert ended.about(JobId.parse("4243_[1-3,5]")) == "Job has already finished"
