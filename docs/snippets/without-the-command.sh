bucket() { aws cloudformation describe-stacks --stack-name retake --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text; }
input=$(bucket InputBucketName)
output=$(bucket OutputBucketName)
echo '{ "prompt": "an ink drawing that breathes", "mode": "reimagine_2" }' >clip.json
aws s3 cp clip.json "s3://$input/shoot/clip.json"
aws s3 cp clip.mp4 "s3://$input/shoot/clip.mp4"
aws s3api wait object-exists --bucket "$output" --key shoot/clip.mp4 # looks every 5 s for 100 s; run it again if that is too short
aws s3 cp "s3://$output/shoot/clip.mp4" retake.mp4
aws s3 cp "s3://$output/shoot/clip.mp4.job.json" -
