"""AWS's side as plain data: a monitor ⇄ SageMaker's requests and descriptions. No client is made or called here.

    images           which image runs in which region
    shapes           what several requests share: cluster, network, role, environment, tags
    differences      what is declared against what SageMaker describes
    job_definition   monitor ⇄ CreateModelQualityJobDefinition, DescribeModelQualityJobDefinition
    schedule         CreateMonitoringSchedule, and SageMaker's cron ⇄ Airflow's
    processing       CreateProcessingJob: the merge, the analysis, the baseline
    compare          two executions' documents, metric by metric

Words are AWS's own as soon as they are keys of a request. docs/moving-over.md tells users what this is for.
"""
